"""What the original's own tests state, and what its README promises, one test each.

The names of the tests are the original's words (backbone.io 0.4: test/backend_test.js,
test/sync_test.js, README.md). The promises about the browser are tested with the real client in
test_javascript.py and in tests/e2e.
"""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

import flask
import pytest
import requests
import socketio

import backboneio
from backboneio.backend import Backend
from backboneio.model import Outcome
from backboneio.request import Request, Response
from backboneio.testing import SyncClient


@pytest.fixture
def backend() -> Backend:
    return backboneio.create_backend()


@pytest.fixture
def handle(backend: Backend) -> Any:
    """Run a request through the stack and return how it was settled: (error, result)."""

    def handle(method: str, model: Any = None) -> tuple[Any, Any]:
        settled: list[Outcome] = []
        backend.handle(Request(method, {} if model is None else model), Response(settled.append))
        assert len(settled) < 2
        if not settled:
            return None, None
        return settled[0].error, json.loads(settled[0].result or "null")

    return handle


class TestBackendUse:
    """Backend #use"""

    def test_applies_middleware_to_all_contexts_by_default(
        self, backend: Backend, handle: Any
    ) -> None:
        middleware = Mock()
        backend.use(middleware)
        handle("foo")
        middleware.assert_called_once()

    def test_only_calls_middleware_used_for_a_given_context(
        self, backend: Backend, handle: Any
    ) -> None:
        middleware = Mock()
        backend.use("bar", middleware)
        backend.use(Mock())
        handle("foo")
        middleware.assert_not_called()

    def test_accepts_multiple_contexts(self, backend: Backend, handle: Any) -> None:
        middleware = Mock()
        backend.use("bar", "baz", middleware)
        backend.use(Mock())
        for method in ("foo", "bar", "baz"):
            handle(method)
        assert middleware.call_count == 2

    def test_chains_middleware_in_the_order_used(self, backend: Backend, handle: Any) -> None:
        calls = []
        backend.use(lambda req, res, next: (calls.append("first"), next()))
        backend.use(lambda req, res, next: (calls.append("second"), next()))
        backend.use(lambda req, res, next: calls.append("third"))
        backend.use(lambda req, res, next: (calls.append("fourth"), next()))
        handle("foo")
        assert calls == ["first", "second", "third"]


class TestBackendHandle:
    """Backend #handle"""

    def test_returns_the_requested_model_by_default(self, handle: Any) -> None:
        assert handle("foo", {"bar": 1}) == (None, {"bar": 1})

    def test_passes_req_res_and_next_to_middleware(self, backend: Backend, handle: Any) -> None:
        middleware = Mock()
        backend.use(middleware)
        handle("foo")
        req, res, next_ = middleware.call_args.args
        assert req.method == "foo"
        assert isinstance(res, Response)
        assert callable(next_)

    def test_passes_uncaught_errors_to_callback(self, backend: Backend, handle: Any) -> None:
        @backend.use
        def fail(req: Any, res: Any, next: Any) -> None:
            raise LookupError("bar")

        with pytest.raises(LookupError, match="bar"):  # the callback of a blocking handle()
            handle("foo")

    def test_passes_uncaught_errors_to_accepting_middleware(
        self, backend: Backend, handle: Any
    ) -> None:
        seen = []

        @backend.use
        def fail(req: Any, res: Any, next: Any) -> None:
            raise LookupError("bar")

        @backend.use
        def on_error(err: Any, req: Any, res: Any, next: Any) -> None:
            seen.append(str(err))

        handle("foo")
        assert seen == ["bar"]


class TestSyncHandle:
    """Sync #handle"""

    @pytest.fixture
    def client(self, app: flask.Flask, backend: Backend) -> SyncClient:
        self.requests: list[Any] = []

        @backend.use("create")
        def layer(req: Any, res: Any) -> None:
            self.requests.append(req)
            if "error" in req.model:
                res.error(Exception("bar"))
            else:
                res.end("foo")
            res.end("baz")  # should be ignored
            res.error("qux")

        backboneio.listen(app, {"mybackend": backend})
        return SyncClient(app, "mybackend")

    def test_should_delegate_to_the_backend(self, client: SyncClient) -> None:
        client.create({})
        assert len(self.requests) == 1

    def test_should_merge_backend_and_socket_into_the_request_object(
        self, client: SyncClient
    ) -> None:
        client.create({"foo": "bar"})
        (req,) = self.requests
        assert req.backend == "mybackend"
        assert req.socket is client.socket
        assert req.model == {"foo": "bar"}

    def test_should_pass_result_to_callback(self, client: SyncClient) -> None:
        assert client.create({}) == "foo"

    def test_should_pass_error_to_callback(self, client: SyncClient) -> None:
        with pytest.raises(backboneio.SyncError) as caught:
            client.create({"error": True})
        assert (str(caught.value), caught.value.attributes) == ("bar", {})


class TestReadme:
    """The promises of README.md that are about the server."""

    @pytest.fixture
    def page(self, app: flask.Flask, backend: Backend) -> Any:
        backend.use(backboneio.middleware.memory_store())
        backboneio.listen(app, {"mybackend": backend})
        return lambda channel=None: SyncClient(app, "mybackend", channel)

    def test_usage(self, app: flask.Flask, serve: Any, connect: Any) -> None:
        backend = backboneio.create_backend()
        backend.use(backboneio.middleware.memory_store())
        backboneio.listen(app, {"mybackend": backend})
        server = serve(app)
        client, other = connect(server.url, "mybackend"), connect(server.url, "mybackend")
        client.listen()
        other.listen()
        client.sync("create", {"text": "hi"})
        assert other.synced() == ["create", {"id": 1, "text": "hi"}]

    def test_the_client_files_are_served(self, app: flask.Flask, backend: Any, serve: Any) -> None:
        backboneio.listen(app, {"mybackend": backend})
        url = serve(app).url
        for name in ("socket.io.js", "backbone.io.js"):
            answer = requests.get(f"{url}/socket.io/{name}", timeout=15)
            if answer.status_code == 500 and "pip install" in answer.text:
                pytest.skip("the files for the browser are not built in this checkout")
            assert answer.status_code == 200
            assert "javascript" in answer.headers["Content-Type"]

    def test_events_of_a_model_synced_by_another_client(self, page: Any) -> None:
        author, other = page(), page()
        model = author.create({"text": "a"})
        author.update({**model, "text": "b"})
        author.delete(model)
        assert [change.method for change in other.received] == ["create", "update", "delete"]
        assert author.received == []

    def test_the_event_prefix_can_be_customized(self, app: flask.Flask, backend: Any) -> None:
        backboneio.listen(app, {"mybackend": backend}, event="myevent")
        assert SyncClient(app, "mybackend").listen()["event"] == "myevent"

    def test_the_components_of_a_request(self, app: flask.Flask, backend: Backend) -> None:
        seen: dict[str, Any] = {}

        @backend.use
        def layer(req: Any, res: Any, next: Any) -> None:
            for name in ("method", "model", "options", "backend", "socket", "channel"):
                seen[name] = getattr(req, name)
            next()

        backboneio.listen(app, {"mybackend": backend})
        client = SyncClient(app, "mybackend", "mychannel")
        client.create({"a": 1}, custom="option")
        assert seen == {
            "method": "create",
            "model": {"a": 1},
            "options": {"custom": "option"},
            "backend": "mybackend",
            "socket": client.socket,
            "channel": "mychannel",
        }

    def test_middleware_for_particular_types_of_requests(
        self, app: flask.Flask, backend: Backend
    ) -> None:
        @backend.use("create", "update", "delete")
        def authorize(req: Any, res: Any, next: Any) -> None:
            if req.socket.auth == "letmein":
                next()
            else:
                next(Exception("Unauthorized"))

        backboneio.listen(app, {"mybackend": backend})
        SyncClient(app, "mybackend", auth="letmein").create({})
        stranger = SyncClient(app, "mybackend")
        stranger.read()
        for method in ("create", "update", "delete"):
            with pytest.raises(backboneio.SyncError, match="Unauthorized"):
                stranger.sync(method, {"id": 1})

    @pytest.mark.parametrize("method", ["create", "read", "update", "delete"])
    def test_the_four_helper_methods(self, backend: Backend, handle: Any, method: str) -> None:
        getattr(backend, method)(lambda req, res: res.end("mine"))
        for other in ("create", "read", "update", "delete"):
            assert handle(other, {})[1] == ("mine" if other == method else {})

    def test_the_bottom_of_the_stack_returns_the_model(self, backend: Any, handle: Any) -> None:
        backend.use(lambda req, res, next: next())
        assert handle("update", {"id": 1}) == (None, {"id": 1})

    def test_emitting_events_directly_on_the_backend(self, backend: Backend, page: Any) -> None:
        clients = [page(), page("room")]
        backend.emit("created", {"id": "myid", "foo": "bar"})
        backend.emit("updated", {"id": "myid", "foo": "baz"})
        backend.emit("deleted", {"id": "myid"})
        for client in clients:
            assert [change[:2] for change in client.received] == [
                ("create", {"id": "myid", "foo": "bar"}),
                ("update", {"id": "myid", "foo": "baz"}),
                ("delete", {"id": "myid"}),
            ]

    def test_only_clients_sharing_the_channel_receive_updates(self, page: Any) -> None:
        author, same, other, none = page("mychannel"), page("mychannel"), page("other"), page()
        author.create({})
        assert len(same.received) == 1
        assert other.received == none.received == []

    def test_the_object_returned_from_listen_is_the_socketio_object(
        self, app: flask.Flask, backend: Backend
    ) -> None:
        sio = backboneio.listen(app, {"mybackend": backend})
        assert isinstance(sio, socketio.Server)

    @pytest.mark.parametrize("name", ["memory_store", "cookie_parser", "session", "logger"])
    def test_the_middleware_directory(self, name: str) -> None:
        assert callable(getattr(backboneio.middleware, name)())
