"""memory_store: models in memory, for threads."""

from __future__ import annotations

import datetime
import itertools
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
