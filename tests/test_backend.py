"""Backend: the stack of layers, and what server code does with it."""

from __future__ import annotations

import datetime
import functools
import inspect
import queue
import re
import threading
from typing import Any
from unittest.mock import Mock

import flask
import pytest
import werkzeug.exceptions

import backboneio
from backboneio.journal import MemoryJournal
from backboneio.testing import SyncClient

from .support import together

# Registering layers


def test_a_layer_for_everything_sees_every_request(messages: backboneio.Backend) -> None:
    seen = []

    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        seen.append(req.method)
        next()

    messages.use("archive", lambda req, res, next: next())
    for method in ("create", "read", "update", "patch", "delete", "archive"):
        messages.call(method, {"id": 1})
    assert seen == ["create", "read", "update", "patch", "delete", "archive"]


def test_a_layer_for_methods_sees_only_those(messages: backboneio.Backend) -> None:
    seen = []

    @messages.use("create", "delete")
    def layer(req: Any, res: Any, next: Any) -> None:
        seen.append(req.method)
        next()

    for method in ("create", "read", "update", "delete"):
        messages.call(method)
    assert seen == ["create", "delete"]


@pytest.mark.parametrize("method", ["create", "read", "update", "patch", "delete"])
def test_helpers_register_for_one_method(messages: backboneio.Backend, method: str) -> None:
    def as_call(req: Any, res: Any, next: Any) -> None:
        req.model["seen"] = ["call"]
        next()

    def as_decorator(req: Any, res: Any, next: Any) -> None:
        req.model["seen"].append("decorator")
        next()

    assert getattr(messages, method)(as_call) is as_call
    assert getattr(messages, method)(as_decorator) is as_decorator
    assert messages.call(method, {}) == {"seen": ["call", "decorator"]}
    other = "read" if method != "read" else "create"
    assert messages.call(other, {}) == {}


def test_a_forgotten_store_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    backend = backboneio.create_backend()
    for _ in range(2):
        assert backend.call("read") == {}
    (record,) = caplog.records
    assert "no layer is for 'read'" in record.message and "memory_store()" in record.message


def test_a_store_that_was_forgotten_behind_a_guard_is_told_once_of_each_method(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = backboneio.create_backend()

    @backend.use
    def guard(req: Any, res: Any, next: Any) -> None:
        if req.method == "delete":
            res.end(req.model)  # and then next() by mistake: it is answered all the same
        next()

    backend.use("archive", guard)
    for method in ("create", "read", "patch", "delete", "archive") * 2:
        backend.call(method, {"id": 1})
    told = [one.getMessage() for one in caplog.records if one.name == "backboneio.stack"]
    for method, message in zip(("create", "read", "patch"), told, strict=True):
        assert f"no layer is for '{method}', or all have called next()" in message
        assert "memory_store()" in message


def test_use_returns_the_layer_in_each_form(messages: backboneio.Backend) -> None:
    def layer(req: Any, res: Any, next: Any) -> None:
        next()

    assert messages.use(layer) is layer
    assert messages.use("create", layer) is layer
    assert messages.use("create")(layer) is layer


def test_layers_run_in_the_order_of_use_around_each_other(messages: backboneio.Backend) -> None:
    steps = []

    for name in ("first", "second"):

        @messages.use
        def layer(req: Any, res: Any, next: Any, *, name: str = name) -> None:
            steps.append(f"{name} in")
            next()
            steps.append(f"{name} out")

    @messages.use
    def last(req: Any, res: Any) -> None:
        steps.append("last")
        res.end("done")

    messages.use(Mock(side_effect=AssertionError("below a layer that ends the request")))
    assert messages.call("read") == "done"
    assert steps == ["first in", "second in", "last", "second out", "first out"]


def test_a_custom_method_goes_through_layers_for_everything_and_its_own(
    messages: backboneio.Backend,
) -> None:
    @messages.use
    def everything(req: Any, res: Any, next: Any) -> None:
        req.model["layers"] = 1
        next()

    @messages.use("archive")
    def archive(req: Any, res: Any) -> None:
        res.end({**req.model, "archived": True})

    assert messages.call("archive", {"id": 1}) == {"id": 1, "layers": 1, "archived": True}


@pytest.mark.parametrize(
    "layer",
    [
        functools.partial(lambda extra, req, res, next: next(), "extra"),
        Mock(side_effect=lambda req, res, next: next()),
        lambda req, res, next=None: next(),
        lambda *args: args[2](),
        lambda req, res, next, *, option=1: next(),
        lambda req, res, next, option=1: next(),
        type("Callable", (), {"__call__": lambda self, req, res, next: next()})(),
        type("Class", (), {"layer": lambda self, req, res, next: next()})().layer,
    ],
    ids=["partial", "mock", "default", "args", "keyword", "extra-default", "object", "bound"],
)
def test_any_callable_of_three_is_a_layer(messages: backboneio.Backend, layer: Any) -> None:
    messages.use(layer)
    assert messages.call("read", {"id": 1}) == {"id": 1}


def _hand_on(layer: Any) -> Any:
    @functools.wraps(layer)
    def wrapper(*args: Any) -> Any:
        return layer(*args)

    return wrapper


def _with_next(layer: Any) -> Any:
    @functools.wraps(layer)
    def wrapper(req: Any, res: Any, next: Any) -> None:
        layer(req, res)

    return wrapper


class _Wrapped:
    @_hand_on
    def method(self, req: Any, res: Any) -> None:
        res.end("the layer's")


@pytest.mark.parametrize(
    "layer",
    [
        _Wrapped().method,
        _hand_on(lambda req, res: res.end("the layer's")),
        _with_next(lambda req, res: res.end("the layer's")),
    ],
    ids=["method", "any-number", "other-shape"],
)
def test_a_wrapped_layer_is_called_as_its_wrapper_wants(
    messages: backboneio.Backend, layer: Any
) -> None:
    messages.use(layer)
    assert messages.call("read") == "the layer's"


@pytest.mark.parametrize(
    "layer",
    [
        lambda: None,
        lambda req: None,
        lambda a, b, c, d, e: None,
        lambda req, res, *, must: None,
        backboneio.middleware.logger,
        lambda rate=10, per=60: lambda req, res, next: next(),
    ],
    ids=["none", "one", "five", "keyword-only", "logger", "factory"],
)
def test_a_layer_of_another_shape_is_refused_where_it_is_written(
    messages: backboneio.Backend, layer: Any
) -> None:
    with pytest.raises(TypeError, match=r"it takes \(req, res\)"):
        messages.use(layer)


def test_neither_a_class_nor_an_async_function_is_a_layer(messages: backboneio.Backend) -> None:
    class Store:
        def __init__(self, db: Any, table: str) -> None:
            pass

    async def read(req: Any, res: Any) -> None:
        pass

    with pytest.raises(TypeError, match="Store is a class"):
        messages.use(Store)
    with pytest.raises(TypeError, match="read is asynchronous"):
        messages.read(read)


@pytest.mark.parametrize("args", [(), (1, lambda req, res: None), ("",), (None,), ("create", 7)])
def test_use_with_nonsense_is_refused(messages: backboneio.Backend, args: Any) -> None:
    with pytest.raises(TypeError):
        messages.use(*args)


def test_arity_is_found_once_and_not_per_request(
    messages: backboneio.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages.use(lambda req, res, next: next())
    monkeypatch.setattr(inspect, "signature", Mock(side_effect=AssertionError("per request")))
    assert messages.call("read", {"id": 1}) == {"id": 1}


def test_a_layer_added_later_counts_from_the_next_request_on(
    messages: backboneio.Backend,
) -> None:
    assert messages.call("read", {"id": 1}) == {"id": 1}
    messages.read(lambda req, res: res.end("late"))
    assert messages.call("read", {"id": 1}) == "late"


@pytest.mark.usefixtures("restless")
def test_no_layer_or_observer_is_lost_when_threads_register_at_once(
    messages: backboneio.Backend,
) -> None:
    calls: list[int] = []

    def register() -> None:
        for _ in range(100):

            def layer(req: Any, res: Any, next: Any) -> None:
                calls.append(1)
                next()

            messages.use(f"method{threading.get_ident()}", layer)
            messages.use("all", lambda req, res, next: next())
            messages.on("created", lambda model: calls.append(2))

    together(*[register] * 8)
    messages.emit("created", {"id": 1})
    assert calls.count(2) == 800


# The answer


def test_the_bottom_of_the_stack_answers_with_the_model(messages: backboneio.Backend) -> None:
    messages.use(lambda req, res, next: next())
    assert messages.call("update", {"id": 1, "text": "hi"}) == {"id": 1, "text": "hi"}


def test_the_first_answer_counts(messages: backboneio.Backend) -> None:
    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        res.end("first")
        res.end("second")
        res.error("third")
        next()

    assert messages.call("read") == "first"


def test_an_error_that_is_first_counts(messages: backboneio.Backend) -> None:
    @messages.use
    def layer(req: Any, res: Any) -> None:
        res.error(backboneio.Forbidden("first"))
        res.end("second")

    with pytest.raises(backboneio.Forbidden, match="first"):
        messages.call("read")


@pytest.mark.usefixtures("restless")
def test_a_layer_serves_every_request_that_begins_after_it_was_added(
    messages: backboneio.Backend,
) -> None:
    """Also while another thread is still working out which layers a method has."""
    paused: queue.SimpleQueue[bool] = queue.SimpleQueue()
    go_on: queue.SimpleQueue[None] = queue.SimpleQueue()
    seen = []

    class Method(str):
        """Lets one thread pause wherever a dictionary asks for the hash."""

        def __hash__(self) -> int:
            if threading.current_thread() is other:
                paused.put(True)
                go_on.get(timeout=10)
            return super().__hash__()

    def call() -> None:
        messages.call(Method("create"))
        paused.put(False)

    def layer(req: Any, res: Any, next: Any) -> None:
        seen.append(threading.current_thread())
        next()

    other = threading.Thread(target=call)
    other.start()
    assert paused.get(timeout=10)
    messages.use(layer)
    number = 0
    while True:
        messages.call("create")
        number += 1
        assert seen.count(threading.current_thread()) == number
        go_on.put(None)
        if not paused.get(timeout=10):
            break
    other.join()


def test_one_of_many_threads_gives_the_answer(messages: backboneio.Backend) -> None:
    @messages.use
    def layer(req: Any, res: Any) -> None:
        together(*[functools.partial(res.end, number) for number in range(8)])

    heard: list[Any] = []
    messages.on("created", heard.append)
    for _ in range(20):
        assert messages.call("create", {"id": 1}) in range(8)
    assert len(heard) == 20


def test_a_layer_that_neither_answers_nor_goes_on_is_an_error(
    messages: backboneio.Backend,
) -> None:
    messages.use(lambda req, res, next: None)
    with pytest.raises(RuntimeError, match=r"no layer answered 'read'.*res\.end"):
        messages.call("read")


def test_what_is_not_json_is_refused_and_can_be_answered_still(
    messages: backboneio.Backend,
) -> None:
    @messages.use
    def layer(req: Any, res: Any) -> None:
        for impossible in (object(), {"n": float("nan")}, {1, 2}):
            with pytest.raises((TypeError, ValueError)):
                res.end(impossible)
            assert not res.ended
        with pytest.raises(TypeError, match="channel"):
            res.end({}, notify=[1])
        with pytest.raises(TypeError):
            res.end({}, notify=None)
        res.end("fine")
        assert res.ended

    assert messages.call("read") == "fine"


def test_next_twice_is_a_clear_error(messages: backboneio.Backend) -> None:
    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        next()
        with pytest.raises(RuntimeError, match="twice"):
            next()

    assert messages.call("read", {"id": 1}) == {"id": 1}


# Errors


def test_a_raised_error_goes_to_the_next_error_layer_below(messages: backboneio.Backend) -> None:
    above, between, below = Mock(), Mock(), []

    @messages.use
    def error_layer_above(err: Any, req: Any, res: Any, next: Any) -> None:
        above()

    @messages.use
    def fail(req: Any, res: Any, next: Any) -> None:
        raise KeyError("lost")

    messages.use(between)

    @messages.use
    def error_layer(err: Any, req: Any, res: Any, next: Any) -> None:
        below.append(err)
        res.end({"recovered": True})

    assert messages.call("read") == {"recovered": True}
    assert [type(err) for err in below] == [KeyError]
    above.assert_not_called()
    between.assert_not_called()


def test_error_layers_are_passed_over_without_an_error(messages: backboneio.Backend) -> None:
    @messages.use
    def error_layer(err: Any, req: Any, res: Any, next: Any) -> None:
        raise AssertionError("there was no error")

    assert messages.call("read", {"id": 1}) == {"id": 1}


def test_an_error_layer_for_methods_sees_only_those(messages: backboneio.Backend) -> None:
    messages.use(lambda req, res, next: next(ValueError("no")))
    messages.use("create", lambda err, req, res, next: res.end("recovered"))
    assert messages.call("create") == "recovered"
    with pytest.raises(ValueError, match="no"):
        messages.call("read")


def test_an_error_layer_passes_on_another_error_or_ends_the_error(
    messages: backboneio.Backend,
) -> None:
    messages.use(lambda req, res, next: next("first"))
    messages.use(lambda err, req, res, next: next(backboneio.Conflict(f"not {err}")))

    @messages.use
    def recover(err: Any, req: Any, res: Any, next: Any) -> None:
        req.model["err"] = str(err)
        next()

    messages.use(lambda req, res: res.end({**req.model, "normal": True}))
    assert messages.call("read") == {"err": "not first", "normal": True}


def test_an_error_layer_that_fails_passes_its_own_error_on(messages: backboneio.Backend) -> None:
    messages.use(lambda req, res, next: next("first"))

    @messages.use
    def fail(err: Any, req: Any, res: Any, next: Any) -> None:
        raise LookupError("second")

    messages.use(lambda err, req, res, next: res.end(repr(err)))
    assert messages.call("read") == "LookupError('second')"


def test_an_unhandled_error_is_raised_through_the_layers_above(
    messages: backboneio.Backend,
) -> None:
    rolled_back = []

    @messages.use
    def transaction(req: Any, res: Any, next: Any) -> None:
        try:
            next()
        except LookupError as err:
            rolled_back.append(err)
            raise

    @messages.use
    def fail(req: Any, res: Any, next: Any) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError) as caught:
        messages.call("read")
    assert rolled_back == [caught.value]


def test_a_layer_above_may_answer_instead_of_the_error(messages: backboneio.Backend) -> None:
    @messages.use
    def rescue(req: Any, res: Any, next: Any) -> None:
        try:
            next()
        except LookupError:
            res.end("rescued")

    @messages.use
    def fail(req: Any, res: Any, next: Any) -> None:
        raise LookupError("gone")

    assert messages.call("read") == "rescued"


def test_an_exception_after_the_answer_is_logged_and_changes_nothing(
    messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.use
    def layer(req: Any, res: Any) -> None:
        res.end("answered")
        raise LookupError("too late")

    assert messages.call("read") == "answered"
    assert "too late" in caplog.text


# emit, call, on


@pytest.mark.parametrize("event", ["create", "created ", "", None, "read", "backend:create"])
def test_an_unknown_event_is_refused(messages: backboneio.Backend, event: Any) -> None:
    with pytest.raises(ValueError, match="created, updated, deleted, reset"):
        messages.emit(event, {"id": 1})
    with pytest.raises(ValueError, match="created, updated, deleted, reset"):
        messages.on(event, print)


@pytest.mark.parametrize(
    ("event", "model", "channel"),
    [
        ("created", None, None),
        ("updated", [], None),
        ("deleted", 7, None),
        ("reset", {"id": 1}, None),
        ("reset", "all", None),
        ("created", {"id": 1}, 7),
        ("created", {"id": 1, "tags": {"a"}}, None),
        ("created", {"id": 1, "size": float("nan")}, None),
    ],
)
def test_what_cannot_be_emitted_is_refused(
    messages: backboneio.Backend, event: str, model: Any, channel: Any
) -> None:
    with pytest.raises((TypeError, ValueError)):
        messages.emit(event, model, channel=channel)


def test_emitting_before_and_without_an_application_is_fine(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    messages.emit("created", {"id": 1})
    backboneio.listen(app, {"messages": messages})
    messages.emit("created", {"id": 2})
    client = SyncClient(app, "messages")
    messages.emit("created", {"id": 3})
    assert [model["id"] for _, model, _ in client.received] == [3]


def test_emit_reaches_everyone_or_one_channel(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    backboneio.listen(app, {"messages": messages})
    nowhere, room = SyncClient(app, "messages"), SyncClient(app, "messages", "room")
    messages.emit("created", {"id": 1})
    messages.emit("updated", {"id": 1}, channel="room")
    messages.emit("deleted", {"id": 1})
    messages.emit("reset")
    messages.emit("reset", [{"id": 2}])
    expected = [
        ("create", {"id": 1}, {"rev": 1}),
        ("update", {"id": 1}, {"rev": 2, "channel": "room"}),
        ("delete", {"id": 1}, {"rev": 3}),
        ("reset", None, {"rev": 4}),
        ("reset", [{"id": 2}], {"rev": 5}),
    ]
    assert room.received == expected
    assert nowhere.received == [expected[0], *expected[2:]]


def test_call_announces_as_a_client_would(app: flask.Flask, messages: backboneio.Backend) -> None:
    messages.use(backboneio.middleware.memory_store())
    backboneio.listen(app, {"messages": messages})
    nowhere, room = SyncClient(app, "messages"), SyncClient(app, "messages", "room")
    assert messages.call("create", {"text": "all"}) == {"id": 1, "text": "all"}
    assert messages.call("patch", {"id": 1, "text": "room"}, channel="room") == {
        "id": 1,
        "text": "room",
    }
    assert [(change.method, change.model) for change in room.received] == [
        ("create", {"id": 1, "text": "all"}),
        ("update", {"id": 1, "text": "room"}),
    ]
    assert [change.method for change in nowhere.received] == ["create"]


@pytest.mark.parametrize("own", [LookupError("mine"), werkzeug.exceptions.Forbidden("mine")])
def test_call_raises_what_the_stack_raised(messages: backboneio.Backend, own: Exception) -> None:
    @messages.use("raise")
    def raises(req: Any, res: Any) -> None:
        raise own

    messages.use("hand", lambda req, res, next: next(own))
    messages.use("error", lambda req, res: res.error(own))
    messages.use("text", lambda req, res: res.error("only words"))
    for method in ("raise", "hand", "error"):
        with pytest.raises(type(own)) as caught:
            messages.call(method)
        assert caught.value is own
    with pytest.raises(backboneio.SyncError, match="only words"):
        messages.call("text")


@pytest.mark.parametrize("method", ["created", "archive", "listen", "", None, 7])
def test_a_method_that_no_layer_names_cannot_be_called(
    messages: backboneio.Backend, method: Any
) -> None:
    messages.use(lambda req, res: res.end({}))
    messages.listen(lambda req, res: res.end({}))
    with pytest.raises(ValueError, match="no layer is registered for it"):
        messages.call(method)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"model": [{"id": 1}]}, "model has to be a dict"),
        ({"model": "text"}, "model has to be a dict"),
        ({"options": [1]}, "options has to be a dict"),
        ({"channel": 7}, "a channel is a string"),
    ],
)
def test_what_cannot_be_called_with(
    messages: backboneio.Backend, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(TypeError, match=named):
        messages.call("create", **arguments)


def test_call_leaves_the_given_model_alone(messages: backboneio.Backend) -> None:
    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        req.model["changed"] = req.options["changed"] = True
        next()

    model, options = {"id": 1}, {"a": 1}
    assert messages.call("update", model, options) == {"id": 1, "changed": True}
    assert (model, options) == ({"id": 1}, {"a": 1})


def test_call_tells_its_layers_that_no_client_asks(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    seen = {}

    @messages.use
    def layer(req: Any, res: Any, next: Any) -> None:
        seen.update(
            socket=req.socket, channel=req.channel, backend=req.backend, options=req.options
        )
        next()

    backboneio.listen(app, {"messages": messages})
    messages.call("read", options={"a": 1}, channel="room")
    assert seen == {"socket": None, "channel": "room", "backend": "messages", "options": {"a": 1}}


def test_observers_hear_of_calls_emits_and_clients(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    heard = []
    messages.on("created", lambda model: heard.append(("created", model["id"])))

    @messages.on("updated")
    def updated(model: Any) -> None:
        heard.append(("updated", model["id"]))

    messages.on("deleted", lambda model: heard.append(("deleted", model["id"])))
    messages.on("reset", lambda models: heard.append(("reset", models)))
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    client.create({"id": 1})
    messages.call("patch", {"id": 2})
    messages.emit("deleted", {"id": 3})
    messages.emit("reset")
    client.read()
    assert heard == [("created", 1), ("updated", 2), ("deleted", 3), ("reset", None)]


def test_observers_get_a_model_of_their_own(messages: backboneio.Backend) -> None:
    heard = []

    @messages.on("created")
    @messages.on("created")
    def change(model: Any) -> None:
        heard.append(model.copy())
        model["text"] = "changed"

    model = {"id": 1, "text": "hi"}
    messages.emit("created", model)
    assert model == {"id": 1, "text": "hi"}
    assert messages.call("create", model) == model
    assert heard == [model] * 4


def test_a_failing_observer_disturbs_nobody(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []
    messages.on("created", Mock(side_effect=LookupError("observer")))
    messages.on("created", heard.append)
    backboneio.listen(app, {"messages": messages})
    assert SyncClient(app, "messages").create({"id": 1}) == {"id": 1}
    assert heard == [{"id": 1}]
    assert "observer" in caplog.text


def test_call_inside_a_layer_of_the_same_model_does_not_wait_for_itself(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    @messages.use("twice")
    def twice(req: Any, res: Any) -> None:
        res.end(messages.call("update", {"id": req.model["id"], "by": "call"}))

    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    assert client.sync("twice", {"id": 1}) == {"id": 1, "by": "call"}


@pytest.mark.usefixtures("restless")
def test_emitting_while_applications_come_and_go(messages: backboneio.Backend) -> None:
    done = threading.Event()

    def emit() -> None:
        while not done.is_set():
            messages.emit("created", {"id": 1})

    def attach() -> None:
        try:
            for _ in range(200):
                backboneio.WSGIApp(lambda environ, start: [], {"messages": messages})
        finally:
            done.set()

    together(emit, emit, attach)


def test_the_turn_is_taken_on_entering_and_given_back(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    backboneio.listen(app, {"messages": messages}, limits=backboneio.Limits(turn_timeout=0.05))
    never_entered = messages.turn(1)
    client = SyncClient(app, "messages")

    def update() -> Any:
        return client.update({"id": 1})

    together(update)
    with messages.turn(1), messages.turn(1), pytest.raises(backboneio.Conflict):
        together(update)
    together(update)
    del never_entered


# Guards and warnings


@pytest.mark.parametrize("method", ["create", "update", "patch", "delete", "archive"])
def test_write_stands_for_every_method_that_changes(
    messages: backboneio.Backend, method: str
) -> None:
    @messages.use("write")
    def guard(req: Any, res: Any, next: Any) -> None:
        raise backboneio.Forbidden("read only")

    messages.use("archive", lambda req, res, next: next())
    with pytest.raises(backboneio.Forbidden, match="read only"):
        messages.call(method, {"id": 1})
    assert messages.call("read", {"id": 1}) == {"id": 1}


def test_write_itself_is_no_method(app: flask.Flask, messages: backboneio.Backend) -> None:
    messages.use("write", lambda req, res, next: next())
    backboneio.listen(app, {"messages": messages})
    with pytest.raises(backboneio.BadRequest, match="has no method 'write'"):
        SyncClient(app, "messages").sync("write")


@pytest.mark.parametrize(
    ("methods", "warning"),
    [
        (("save",), "is for 'save' and never runs: the methods of Backbone's save.. are create"),
        (("destroy",), "is for 'destroy' and never runs: .* destroy.. are delete"),
        (("read", "fetch"), "is for 'fetch' and never runs: .* fetch.. are read"),
        (("create", "update", "delete"), "is for 'update' and not for 'patch'"),
        (("crate",), "is for 'crate', a method of your own .*: did you mean 'create'"),
        (("wirte",), "is for 'wirte', .* mean 'write'"),
        (("lisen",), "is for 'lisen', .* mean 'listen'"),
        (("Delete",), "is for 'Delete', .* mean 'delete'"),
        (("read ",), "is for 'read ', .* mean 'read'"),
        (("updated", "patch"), "is for 'updated', .* mean 'update'"),
        (("archive", "ready", "undelete", "relate"), None),
        (("create", "update", "patch", "delete"), None),
        (("write",), None),
        ((), None),
    ],
)
def test_a_layer_that_is_not_what_it_seems_is_warned_of_when_it_is_served(
    app: flask.Flask,
    messages: backboneio.Backend,
    caplog: pytest.LogCaptureFixture,
    methods: tuple[str, ...],
    warning: str | None,
) -> None:
    def guard(req: Any, res: Any, next: Any) -> None:
        next()

    messages.use(*methods, guard)
    assert caplog.text == ""
    backboneio.listen(app, {"messages": messages})
    if warning is None:
        assert caplog.text == ""
    else:
        assert re.search(f"the layer guard {warning}", caplog.text)
    assert len(caplog.records) == (warning is not None)


def test_a_store_for_update_alone_is_as_meant(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    messages.update(lambda req, res: res.end(req.model))
    backboneio.listen(app, {"messages": messages})
    assert caplog.text == ""


def test_emit_asks_who_is_to_be_told_unless_a_channel_is_given(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    @messages.publish
    def owners(change: backboneio.Change) -> Any:
        return [change.model["owner"]]

    backboneio.listen(app, {"messages": messages})
    ada, eve = (SyncClient(app, "messages", name) for name in ("ada", "eve"))
    messages.emit("created", {"id": 1, "owner": "ada"})
    messages.emit("created", {"id": 2, "owner": "ada"}, channel="eve")
    assert [change.model["id"] for change in ada.received] == [1]
    assert [change.model["id"] for change in eve.received] == [2]


def test_a_change_that_no_client_can_hear_is_warned_of_once(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a shell, or in a task queue, that imports the application."""
    backboneio.listen(app, {"messages": messages})
    for number in range(3):
        messages.emit("created", {"id": number})
    assert len(caplog.records) == 1
    assert "no client has ever connected to this process" in caplog.text


def test_a_change_in_a_process_that_answers_requests_is_not_warned_of(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """Before its first client came, too. Of several processes another one may have them all."""

    @app.post("/imports")
    def import_all() -> str:
        messages.emit("reset")
        return "imported"

    app.wsgi_app = backboneio.WSGIApp(app, {"messages": messages})  # type: ignore[method-assign]
    several = {"wsgi.multiprocess": True}
    assert app.test_client().post("/imports").text == "imported"
    assert caplog.text == ""
    other = backboneio.create_backend()
    app.wsgi_app = backboneio.WSGIApp(app, {"other": other}, path="other")  # type: ignore[method-assign]
    app.test_client().post("/imports", environ_overrides=several)
    other.emit("reset")
    assert len(caplog.records) == 1


def test_a_change_that_clients_hear_is_not_warned_of(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    backboneio.listen(app, {"messages": messages})
    SyncClient(app, "messages").disconnect()
    messages.emit("created", {"id": 1})
    assert caplog.text == ""


def test_call_returns_what_clients_get(messages: backboneio.Backend) -> None:
    when = datetime.datetime(2030, 1, 2, 3, 4, 5)
    given = {"id": 1, "at": when, "tags": ("a", "b")}
    messages.read(lambda req, res: res.end(given))
    assert messages.call("read") == {"id": 1, "at": "2030-01-02T03:04:05", "tags": ["a", "b"]}


def test_limits_that_another_application_has_set_already_are_warned_of(
    messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    for name, most in (("one", 10), ("two", 20)):
        limits = backboneio.Limits(max_changes=most)
        backboneio.WSGIApp(flask.Flask(name), {"messages": messages}, limits=limits)
    assert "is served already: its journal, turns and answers keep the limits" in caplog.text


def test_whole_rows_are_said_to_be_whole(app: flask.Flask, messages: backboneio.Backend) -> None:
    messages.update(lambda req, res: res.end(req.model, whole=True))
    messages.read(lambda req, res: res.end([], whole=True))
    messages.create(lambda req, res: res.end(req.model))
    backboneio.listen(app, {"messages": messages})
    author, other = SyncClient(app, "messages"), SyncClient(app, "messages")
    author.update({"id": 1})
    assert author.meta["whole"] is True
    assert other.received[-1].meta["whole"] is True
    author.read()
    assert author.meta["whole"] is True
    author.create({"id": 2})
    assert "whole" not in author.meta
    assert "whole" not in other.received[-1].meta
    back = SyncClient(app, "messages", listen=False)
    back.listen(None, since={"epoch": author.meta["epoch"], "rev": 0})
    assert [change.meta.get("whole") for change in back.received] == [True, None]


def test_a_channel_that_a_client_is_joined_to_unasked_is_warned_of_once(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages", "room")
    client.socket.join("room")
    assert caplog.text == ""
    client.socket.join("other")
    client.socket.join("more")
    assert len(caplog.records) == 1
    assert "joined to channel 'other', to which it has not listened" in caplog.text


@pytest.mark.parametrize("how", ["backend", "application"])
def test_a_journal_is_given_to_a_backend_or_made_by_the_application(
    messages: backboneio.Backend, how: str
) -> None:
    made: dict[str, MemoryJournal] = {}

    def make(name: str) -> MemoryJournal:
        made[name] = MemoryJournal()
        return made[name]

    if how == "backend":
        made["messages"] = MemoryJournal()
        messages = backboneio.create_backend(journal=made["messages"])
        app = backboneio.WSGIApp(lambda environ, start_response: [], {"messages": messages})
    else:
        app = backboneio.WSGIApp(
            lambda environ, start_response: [],
            {"messages": messages, "more": messages},
            journal=make,
        )
    assert list(made) == ["messages"]
    client = SyncClient(app, "messages")
    messages.emit("created", {"id": 1})
    assert [change.rev for change in made["messages"].since(0, 1) or ()] == [1]
    assert len(client.received) == 1


@pytest.mark.parametrize("journal", [None, MemoryJournal()])
def test_one_who_serves_it_and_fails_keeps_the_others_from_nothing(
    journal: MemoryJournal | None, caplog: pytest.LogCaptureFixture
) -> None:
    messages = backboneio.create_backend(journal=journal)
    broken = Mock(spec=["name", "context", "is_current", "deliver", "clients"])
    broken.name = "broken"
    broken.deliver.side_effect = RuntimeError("the wire is cut")
    messages.attach(broken)
    app = backboneio.WSGIApp(lambda environ, start_response: [], {"messages": messages})
    client = SyncClient(app, "messages")
    other = SyncClient(app, "messages")
    client.update({"id": 1})
    assert [change.model for change in other.wait(1)] == [{"id": 1}]
    assert "the wire is cut" in caplog.text
