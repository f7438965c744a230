"""The stack: which layers there are, and which a request meets."""

from __future__ import annotations

import functools
import inspect
import queue
import re
import threading
from typing import Any
from unittest.mock import Mock

import flask
import pytest

import backboneio
from backboneio.testing import SyncClient


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


def test_no_method_is_called_as_what_tells_collections_to_fetch_anew(
    messages: backboneio.Backend,
) -> None:
    def reset(req: Any, res: Any) -> None:
        raise AssertionError("it was registered")

    with pytest.raises(ValueError, match="no method can be called 'reset'"):
        messages.use("archive", "reset", reset)
    reset.methods = ("reset",)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no method can be called 'reset'"):
        messages.use(reset)
    assert messages.layers == ()
    with pytest.raises(ValueError, match="there is no method 'reset'"):
        messages.call("reset")


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


def test_a_layer_that_is_added_later_is_warned_of_at_once(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """As a decorator below the application is."""
    messages.use("crate", lambda req, res: res.end())
    backboneio.listen(app, {"messages": messages})
    caplog.clear()

    @messages.use("update")
    def guard(req: Any, res: Any, next: Any) -> None:
        next()

    (record,) = caplog.records
    assert "backend 'messages': the layer guard is for 'update'" in record.getMessage()


def test_a_store_for_update_alone_is_as_meant(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    messages.update(lambda req, res: res.end(req.model))
    backboneio.listen(app, {"messages": messages})
    assert caplog.text == ""
