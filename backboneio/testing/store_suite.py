"""StoreSuite: what every store has to do, as tests to run against one of your own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import Backend, create_backend
from ..errors import NotFound, SyncError
from ..wsgi import WSGIApp
from .client import SyncClient
from .threads import restless, together

#: An id that no model has.
UNKNOWN = 1_000_000


def refused(kind: type[SyncError], function: Callable[..., Any], *args: Any) -> bool:
    """Whether a function raises an error of this kind."""
    try:
        function(*args)
    except kind:
        return True
    return False


class StoreSuite:
    """Tests of a store, for pytest.

    Its models have two attributes at least: ``title``, a string, and ``n``, a number or null. It
    gives each model its id: a number, or a string.

        from backboneio.testing.store_suite import StoreSuite

        class TestMyStore(StoreSuite):
            def make(self):
                return MyStore()
    """

    def make(self) -> Any:
        """Return a store without models, a layer; each test asks for one."""
        raise NotImplementedError

    def backend(self) -> Backend:
        """Return a backend that has a store alone."""
        backend = create_backend()
        backend.use(self.make())
        return backend

    def create(self, backend: Backend, title: str, n: Any = None) -> tuple[Any, dict[str, Any]]:
        """Create a model; return its id, and what was answered."""
        model = backend.call("create", {"title": title, "n": n})
        assert isinstance(model, dict)
        return model[backend.id_attribute], model

    # One after the other

    def test_a_model_is_created_read_changed_and_deleted(self) -> None:
        backend = self.backend()
        key, created = self.create(backend, "a", 1)
        assert (created["title"], created["n"]) == ("a", 1)
        assert backend.call("read", {backend.id_attribute: key}) == created
        patched = backend.call("patch", {backend.id_attribute: key, "n": 2})
        assert patched == {**created, "n": 2}, "the answer to a patch is the whole model"
        updated = backend.call("update", {**patched, "title": "b"})
        assert updated == {**patched, "title": "b"}
        assert backend.call("read") == [updated]
        assert backend.call("delete", {backend.id_attribute: key}) == updated
        assert backend.call("read") == []

    def test_models_are_listed_in_the_order_of_their_creation(self) -> None:
        backend = self.backend()
        created = [self.create(backend, title)[1] for title in "cab"]
        assert backend.call("read") == created
        assert len({model[backend.id_attribute] for model in created}) == 3

    def test_what_is_not_there_is_not_found(self) -> None:
        backend = self.backend()
        key, _ = self.create(backend, "a")
        backend.call("delete", {backend.id_attribute: key})
        for method in ("read", "update", "patch", "delete"):
            for unknown in (key, UNKNOWN, str(UNKNOWN), "x", f"{key}x", "1; DROP TABLE a", 1.5):
                model = {backend.id_attribute: unknown}
                assert refused(NotFound, backend.call, method, model), (method, unknown)
        for method in ("update", "patch", "delete"):
            assert refused(NotFound, backend.call, method, {"title": "a"}), f"{method} needs an id"
        assert backend.call("read") == []

    def test_ids_are_compared_as_backbone_compares_them(self) -> None:
        backend = self.backend()
        key, created = self.create(backend, "a")
        for same in (key,) if isinstance(key, str) else (key, str(key), float(key)):
            assert backend.call("read", {backend.id_attribute: same}) == created
        updated = backend.call("patch", {backend.id_attribute: str(key), "title": "b"})
        assert updated == {**created, "title": "b"}, "the id stays what it was"

    def test_an_id_that_is_null_is_none(self) -> None:
        backend = self.backend()
        model = backend.call("create", {backend.id_attribute: None, "title": "a", "n": 1})
        assert model[backend.id_attribute] is not None

    def test_values_come_back_as_they_were(self) -> None:
        backend = self.backend()
        for title in ("", "grüße 🙂 \u2028", "'; DROP TABLE task; --", " a ", "x" * 90):
            key, created = self.create(backend, title)
            assert created["title"] == title
            assert backend.call("read", {backend.id_attribute: key})["title"] == title
        for n in (None, 0, -1, 2**31 - 1):
            assert self.create(backend, "n", n)[1]["n"] == n

    def test_what_is_handed_out_is_a_copy(self) -> None:
        backend = self.backend()
        given = {"title": "a", "n": 1}
        created = backend.call("create", given)
        given["title"] = created["title"] = backend.call("read")[0]["title"] = "b"
        assert backend.call("read")[0]["title"] == "a"

    def test_other_methods_pass_it_by(self) -> None:
        backend = self.backend()
        backend.use("archive", lambda req, res: res.end("archived"))
        assert backend.call("archive", {"title": "a"}) == "archived"

    # At once

    def test_creating_at_once_gives_everyone_a_model(self) -> None:
        backend = self.backend()

        def create() -> list[Any]:
            return [self.create(backend, str(number))[0] for number in range(10)]

        with restless():
            keys = [key for keys in together(*[create] * 4) for key in keys]
        assert len(set(keys)) == 40
        assert {model[backend.id_attribute] for model in backend.call("read")} == set(keys)

    def test_patches_of_one_model_at_once_lose_nothing(self) -> None:
        backend = self.backend()
        key, _ = self.create(backend, "0", 0)

        def patch(name: str, value: Callable[[int], Any]) -> None:
            for number in range(1, 21):
                backend.call("patch", {backend.id_attribute: key, name: value(number)})

        with restless():
            together(lambda: patch("title", str), lambda: patch("n", int))
        model = backend.call("read", {backend.id_attribute: key})
        assert (model["title"], model["n"]) == ("20", 20)

    def test_changes_are_announced_in_the_order_in_which_they_were_made(self) -> None:
        backend = self.backend()
        served = WSGIApp(lambda environ, start_response: [], {"models": backend})
        listener = SyncClient(served, "models")
        key, _ = self.create(backend, "0", 0)

        def change(name: str) -> None:
            for number in range(1, 21):
                backend.call("patch", {backend.id_attribute: key, name: number})
                self.create(backend, "another")

        with restless():
            together(lambda: change("n"), lambda: change("n"))
        told: dict[Any, Any] = {}
        for announced in listener.received:
            model = announced.model
            if model[backend.id_attribute] not in told:
                assert announced.method == "create", "nobody changes it before it is announced"
            told[model[backend.id_attribute]] = model
        stored = {model[backend.id_attribute]: model for model in backend.call("read")}
        assert told == stored, "who only listened has what is stored"
        assert all(announced.meta.get("whole") for announced in listener.received)
