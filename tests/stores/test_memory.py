"""memory_store: models in memory, for threads."""

from __future__ import annotations

import datetime
import itertools
import json
import math
from typing import Any

import flask
import pytest

import backboneio
from backboneio.middleware import memory_store
from backboneio.testing import SyncClient

from ..support import together


@pytest.fixture
def backend(request: Any) -> backboneio.Backend:
    backend = backboneio.create_backend()
    backend.use(memory_store(**getattr(request, "param", {})))
    return backend


def options(**options: Any) -> Any:
    return pytest.mark.parametrize("backend", [options], indirect=True)


def test_create_read_update_patch_delete(backend: backboneio.Backend) -> None:
    assert backend.call("create", {"text": "a"}) == {"id": 1, "text": "a"}
    assert backend.call("create", {"text": "b", "more": 1}) == {"id": 2, "text": "b", "more": 1}
    assert backend.call("read", {"id": 1}) == {"id": 1, "text": "a"}
    assert [model["id"] for model in backend.call("read")] == [1, 2]
    assert backend.call("update", {"id": 2, "text": "c"}) == {"id": 2, "text": "c"}
    assert backend.call("patch", {"id": 2, "more": 2}) == {"id": 2, "text": "c", "more": 2}
    assert backend.call("delete", {"id": 1}) == {"id": 1, "text": "a"}
    assert backend.call("read") == [{"id": 2, "text": "c", "more": 2}]


@pytest.mark.parametrize("method", ["read", "update", "patch", "delete"])
@pytest.mark.parametrize("model", [{"id": 7}, {"id": "7"}])
def test_what_is_not_there_is_not_found(
    backend: backboneio.Backend, method: str, model: Any
) -> None:
    with pytest.raises(backboneio.NotFound, match="no model with the id"):
        backend.call(method, model)


@pytest.mark.parametrize("method", ["update", "patch", "delete"])
def test_a_change_needs_an_id(backend: backboneio.Backend, method: str) -> None:
    with pytest.raises(backboneio.NotFound, match=r"model\.id: is needed"):
        backend.call(method, {"text": "a"})


@options(upsert=True)
def test_upsert_restores_what_the_original_did(backend: backboneio.Backend) -> None:
    assert backend.call("update", {"id": "x", "n": 1}) == {"id": "x", "n": 1}
    assert backend.call("update", {"id": "x", "n": 2}) == {"id": "x", "n": 2}
    assert backend.call("read") == [{"id": "x", "n": 2}]


def test_ids_are_compared_as_backbone_does(backend: backboneio.Backend) -> None:
    backend.call("create", {"id": 5})
    assert backend.call("update", {"id": "5", "n": 1}) == {"id": 5, "n": 1}
    assert backend.call("read", {"id": 5.0}) == {"id": 5, "n": 1}
    with pytest.raises(backboneio.Conflict, match="id '5' already"):
        backend.call("create", {"id": "5"})


def test_an_id_that_a_client_chose_is_not_given_to_another_model(
    backend: backboneio.Backend,
) -> None:
    for chosen in (1, "2", 3.0):
        backend.call("create", {"id": chosen})
    assert backend.call("create", {})["id"] == 4


@pytest.mark.parametrize("huge", [10**300, 2**53, -1, 1e300])
def test_a_huge_id_of_a_client_does_not_spoil_later_ones(
    backend: backboneio.Backend, huge: Any
) -> None:
    backend.call("create", {"id": huge})
    assert [backend.call("create", {})["id"] for _ in range(3)] == [1, 2, 3]


def test_an_id_is_not_given_twice(backend: backboneio.Backend) -> None:
    backend.call("create", {})
    backend.call("delete", {"id": 1})
    assert backend.call("create", {})["id"] == 2


@options(models=[{"id": 7, "a": [1]}, {"a": 2}])
def test_models_to_begin_with(backend: backboneio.Backend) -> None:
    assert backend.call("read") == [{"id": 7, "a": [1]}, {"id": 8, "a": 2}]
    backend.call("delete", {"id": 8})
    assert backend.call("create", {})["id"] == 9


def test_the_given_models_stay_as_they_are() -> None:
    model = {"a": [1]}
    store = memory_store([model])
    store.models()[0]["a"].append(2)
    assert model == {"a": [1]}
    assert store.models() == [{"id": 1, "a": [1]}]


def test_models_are_copied_in_and_out(backend: backboneio.Backend) -> None:
    kept: list[Any] = []

    @backend.use("create", "read", "update", "patch", "delete")
    def below(req: Any, res: Any) -> None:
        raise AssertionError("the store ends every request")

    given: dict[str, Any] = {"deep": {"list": [1]}}
    for method in ("create", "update", "patch"):
        given["id"] = 1
        answer = backend.call(method, given)
        kept += [answer, *backend.call("read"), backend.call("read", {"id": 1})]
        for copy in kept:
            copy["deep"]["list"].append("changed outside")
            copy["changed"] = "outside"
        given["deep"]["list"].append("changed by the caller")
        stored = backend.call("read", {"id": 1})
        assert "changed" not in stored
        assert "changed outside" not in stored["deep"]["list"]
        given = {"deep": {"list": [1]}}


def test_models_of_server_code_are_kept_as_clients_read_them(
    backend: backboneio.Backend,
) -> None:
    day = datetime.date(2026, 1, 31)
    plain = {"id": 1, "day": "2026-01-31", "pairs": [{"a": [1]}]}
    for method in ("create", "update", "patch"):
        pair = {"a": [1]}
        answer = backend.call(method, {"id": 1, "day": day, "pairs": (pair,)})
        assert answer == plain
        for model in (answer, {"pairs": [pair]}):
            model["pairs"][0]["a"].append("changed outside")
        assert backend.call("read") == [plain]


@pytest.mark.parametrize("value", [{"a", "set"}, float("nan"), object()])
def test_what_is_not_json_is_not_kept(backend: backboneio.Backend, value: Any) -> None:
    backend.call("create", {"text": "hi"})
    for method in ("create", "update", "patch"):
        with pytest.raises((TypeError, ValueError)):
            backend.call(method, {"id": 1 if method != "create" else None, "value": value})
    assert backend.call("read") == [{"id": 1, "text": "hi"}]
    with pytest.raises((TypeError, ValueError)):
        memory_store([{"value": value}])


@options(id_attribute="_id")
def test_another_id_attribute(app: flask.Flask, backend: backboneio.Backend) -> None:
    backboneio.listen(app, {"documents": backend})
    client, other = SyncClient(app, "documents"), SyncClient(app, "documents")
    assert client.create({"id": "no id", "a": 1}) == {"_id": 1, "id": "no id", "a": 1}
    assert client.update({"_id": 1, "a": 2}) == {"_id": 1, "a": 2}
    assert client.delete({"_id": 1}) == {"_id": 1, "a": 2}
    assert [change.model["_id"] for change in other.received] == [1, 1, 1]
    with pytest.raises(backboneio.BadRequest, match=r"model\._id: must be a string or a number"):
        client.update({"_id": {"$gt": ""}})


@options(per_channel=True)
def test_models_of_channels_apart(app: flask.Flask, backend: backboneio.Backend) -> None:
    backboneio.listen(app, {"messages": backend})
    room, hall = SyncClient(app, "messages", "room"), SyncClient(app, "messages", "hall")
    mine = room.create({"in": "room"})
    assert hall.read() == []
    for method in ("read", "update", "patch", "delete"):
        with pytest.raises(backboneio.NotFound):
            hall.sync(method, mine)
    same_id = hall.create({"id": mine["id"], "in": "hall"})
    assert room.read() == [mine]
    assert hall.read() == [same_id]


def test_nothing_is_left_of_a_channel_that_is_empty() -> None:
    """Clients choose the names of channels, and there is no end of names."""
    backend = backboneio.create_backend()
    store = backend.use(memory_store(per_channel=True))
    kept = backend.call("create", {}, channel="kept")
    before = _dicts_within(vars(store))
    for number in range(1000):
        model = backend.call("create", {"n": number}, channel=f"room {number}")
        backend.call("update", model, channel=f"room {number}")
        backend.call("delete", model, channel=f"room {number}")
        assert backend.call("read", channel=f"room {number}") == []
        with pytest.raises(backboneio.NotFound):
            backend.call("delete", model, channel=f"room {number}")
    assert _dicts_within(vars(store)) == before
    assert backend.call("read", channel="kept") == [kept]


def _dicts_within(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else ()
    return isinstance(value, dict) + sum(map(_dicts_within, items))


def test_nothing_is_left_of_a_channel_whose_first_model_is_refused() -> None:
    backend = backboneio.create_backend()
    store = backend.use(memory_store(max_models=0, per_channel=True))
    before = _dicts_within(vars(store))
    with pytest.raises(backboneio.TooLarge):
        backend.call("create", {}, channel="room")
    assert _dicts_within(vars(store)) == before


@options(max_model=1000)
def test_a_model_does_not_grow_beyond_its_limit(backend: backboneio.Backend) -> None:
    """By patches, each of which is small."""
    backend.call("create", {})
    with pytest.raises(backboneio.TooLarge, match=r"model: would be 1\d\d\d bytes .* may be 1000"):
        for number in range(100):
            backend.call("patch", {"id": 1, f"a{number}": "é" * 50})
    model = backend.call("read", {"id": 1})
    assert number - 1 == max(int(key[1:]) for key in model if key != "id")
    assert 800 < len(json.dumps(model, ensure_ascii=False).encode()) <= 1000
    for method in ("create", "update"):
        with pytest.raises(backboneio.TooLarge):
            backend.call(method, {**model, "id": 1 if method == "update" else 2, "b": "x" * 500})
    assert backend.call("read") == [model]
    backend.call("patch", {"id": 1, "a0": "smaller"})


def test_by_default_that_is_what_a_message_may_be() -> None:
    backend = backboneio.create_backend()
    store = backend.use(memory_store([{"a": "x" * 990_000}]))
    with pytest.raises(backboneio.TooLarge, match="may be 1000000"):
        backend.call("patch", {"id": 1, "b": "x" * 10_000})
    assert [*store.models()[0]] == ["a", "id"]
    with pytest.raises(backboneio.TooLarge):
        memory_store([{"a": "x" * 1_000_000}])
    memory_store([{"a": "x" * 1_000_000}], max_model=None)


def test_large_integers_stay_what_they_were(app: flask.Flask) -> None:
    """A browser reads them as strings, and sends back what it has read."""
    big, other = 653247040368672768, 653247040368672769
    backend = backboneio.create_backend()
    store = backend.use(memory_store([{"id": big, "n": [1, big]}, {"id": other, "n": []}]))
    backboneio.listen(app, {"messages": backend})
    client = SyncClient(app, "messages")
    first, second = client.read()
    assert (first["id"], second["id"]) == (str(big), str(other))
    client.update({**first, "done": True})
    client.patch({"id": str(other), "n": [str(big)]})
    client.patch({"id": str(big), "n": [1, str(big), 2]})
    assert store.models() == [
        {"id": big, "n": [1, big, 2], "done": True},
        {"id": other, "n": [str(big)]},
    ]
    assert client.delete({"id": str(big)})["id"] == str(big)
    assert client.read({"id": str(other)})["id"] == str(other)


@pytest.mark.parametrize("value", [{1}, b"x", math.nan])
@pytest.mark.parametrize("method", ["create", "update", "patch"])
def test_what_is_not_json_is_named(method: str, value: Any) -> None:
    """A layer above has put it there; nothing is stored, and nobody is told."""
    backend = backboneio.create_backend()
    store = backend.use(memory_store([{"id": 1}]))
    told: list[Any] = []
    for event in ("created", "updated"):
        backend.on(event, told.append)
    model = {"id": 1} if method != "create" else {}
    with pytest.raises((TypeError, ValueError), match=r"^model\.tags\[2\]: .* sent as JSON$"):
        backend.call(method, {**model, "tags": [1, 2, value]})
    assert store.models() == [{"id": 1}]
    assert told == []


@options(max_models=2)
def test_only_so_many_models(backend: backboneio.Backend) -> None:
    backend.call("create", {})
    backend.call("create", {"id": "two"})
    with pytest.raises(backboneio.TooLarge, match="at most 2"):
        backend.call("create", {})
    backend.call("update", {"id": "two", "n": 1})
    backend.call("delete", {"id": "two"})
    backend.call("create", {})


@options(max_models=2, upsert=True)
def test_only_so_many_models_by_upsert(backend: backboneio.Backend) -> None:
    for key in (1, 2, 1):
        backend.call("update", {"id": key})
    with pytest.raises(backboneio.TooLarge):
        backend.call("update", {"id": 3})


def test_other_methods_pass_it_by(app: flask.Flask, backend: backboneio.Backend) -> None:
    backend.use("archive", lambda req, res: res.end({"archived": True}))
    assert backend.call("archive", {"id": 1}) == {"archived": True}
    backboneio.listen(app, {"messages": backend})
    SyncClient(app, "messages").listen("room")


@pytest.mark.usefixtures("restless")
def test_threads_lose_nothing(backend: backboneio.Backend) -> None:
    def work() -> list[Any]:
        mine = [backend.call("create", {"n": 0})["id"] for _ in range(50)]
        for key in mine:
            backend.call("update", {"id": key, "n": 1})
            backend.call("patch", {"id": key, "m": 1})
            backend.call("read")
        for key in mine[:25]:
            backend.call("delete", {"id": key})
        return mine

    ids = itertools.chain.from_iterable(together(*[work] * 4))
    assert sorted(ids) == list(range(1, 201))
    assert len(backend.call("read")) == 100
    assert all(model["n"] == model["m"] == 1 for model in backend.call("read"))


@pytest.mark.usefixtures("restless")
def test_creating_announces_before_anyone_can_change_it(
    app: flask.Flask, backend: backboneio.Backend
) -> None:
    """The store learns the id late: whoever guesses it waits until the creation is announced."""
    backboneio.listen(app, {"messages": backend})
    listener = SyncClient(app, "messages")

    def create() -> None:
        for _ in range(100):
            backend.call("create", {})

    def guess() -> None:
        for key in range(1, 101):
            done = False
            while not done:
                try:
                    backend.call("update", {"id": key, "n": 1})
                    done = True
                except backboneio.NotFound:
                    pass

    together(create, guess)
    first = {}
    for change in listener.received:
        first.setdefault(change.model["id"], change.method)
    assert set(first.values()) == {"create"}
    assert len(first) == 100


@pytest.mark.parametrize("method", ["create", "update", "patch"])
def test_a_model_that_contains_itself_is_named(backend: backboneio.Backend, method: str) -> None:
    backend.call("create", {"id": 1})
    model: Any = {"id": 1 if method != "create" else 2, "parts": []}
    model["parts"].append(model)
    with pytest.raises(ValueError, match=r"model\.parts\[0\].*: contains itself"):
        backend.call(method, model)
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="model: is nested too deeply"):
        backend.call(method, {**model, "parts": deep})
    assert backend.call("read") == [{"id": 1}]
