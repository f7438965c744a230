"""The commands that people start servers with, one by one."""

from __future__ import annotations

import pathlib
import re
import shutil
from typing import Any

import pytest
import requests

from .support import PATIENCE, Client, Refused, ServerProcess, Wire, wait_until

FLASK = ["flask", "--app", "tests.apps", "run", "--port", "0"]
GUNICORN = ["gunicorn", "--bind", "127.0.0.1:0", "--worker-class", "gthread", "--threads", "3"]
WAITRESS = ["waitress", "--listen", "127.0.0.1:0", "--threads", "12", "tests.apps:app"]

SERVERS = {
    "flask run": FLASK,
    "flask run with the debugger": [*FLASK, "--debug", "--no-reload"],
    "flask run with debugger and reloader": [*FLASK, "--debug"],
    "gunicorn gthread": [*GUNICORN, "tests.apps:app"],
    "gunicorn sync": ["gunicorn", "--bind", "127.0.0.1:0", "tests.apps:app"],
    "waitress": WAITRESS,
    "flask run, threads": [*FLASK, "--debug", "--no-reload"],
    "gunicorn gthread, threads": [*GUNICORN, "--threads", "12", "tests.apps:app"],
}


@pytest.fixture(params=SERVERS)
def server(request: Any, serve_process: Any) -> ServerProcess:
    transport = "threads" if request.param.endswith(", threads") else "auto"
    server: ServerProcess = serve_process(*SERVERS[request.param], TRANSPORT=transport)
    return server


@pytest.mark.slow
def test_a_server_serves_pages_and_clients(server: Any, connect: Any) -> None:
    author = connect(server.url, transports=["websocket"])
    listener = connect(server.url, transports=["websocket"])
    author.listen("room")
    listener.listen("room")
    assert author.sync("create", {"text": "hi"}) == {"id": 1, "text": "hi"}
    assert listener.synced() == ["create", {"id": 1, "text": "hi"}]
    assert author.sync("whoami") == {"app": "tests.apps"}

    # Pages are served as ever while clients are connected, and views reach the clients.
    http = requests.Session()
    assert http.get(server.url, timeout=PATIENCE).text == "the page"
    assert http.get(f"{server.url}/post/hello", timeout=PATIENCE).json() == {
        "id": 2,
        "text": "hello",
    }
    assert author.synced() == listener.synced() == ["create", {"id": 2, "text": "hello"}]
    assert http.get(f"{server.url}/broken", timeout=PATIENCE).status_code == 500

    # A layer that breaks is an error for its client alone, told in detail when debugging.
    with pytest.raises(Refused) as refused:
        author.sync("explode")
    debug = "--debug" in server.process.args
    assert refused.value.name == ("ZeroDivisionError" if debug else "InternalError")
    assert author.sync("read", {"id": 1}) == {"id": 1, "text": "hi"}


@pytest.mark.slow
def test_clients_that_go_leave_no_traceback(server: Any) -> None:
    """However a client goes: with a goodbye, by closing the WebSocket, or by dropping the line."""
    for _ in range(2):
        with Client(server.url, transports=["websocket"]) as client:
            client.listen()
            client.sync("create", {})
    with Wire(server.url) as page:
        page.ask('["listen",null]')
    page = Wire(server.url)
    page.ask('["listen",null]')
    page.cut()
    with Client(server.url, transports=["websocket"]) as client:
        client.listen()
        assert len(client.sync("read")) == 2
    log = server.stop()
    assert "Traceback" not in log, log
    assert not re.search(r"\b(ERROR|Error|Exception|code 400)\b", log), log


@pytest.mark.slow
def test_more_clients_than_threads(serve_process: Any, connect: Any) -> None:
    server = serve_process(*SERVERS["gunicorn gthread"])
    clients = [connect(server.url) for _ in range(12)]
    for client in clients:
        client.listen()
    clients[0].sync("create", {"text": "to all"})
    for client in clients[1:]:
        assert client.synced()[1]["text"] == "to all"
    assert requests.get(server.url, timeout=PATIENCE).text == "the page"


@pytest.mark.slow
def test_the_reloader_restarts_while_clients_are_connected(
    serve_process: Any, connect: Any, tmp_path: pathlib.Path
) -> None:
    source = tmp_path / "reloaded.py"
    shutil.copy(pathlib.Path(__file__).with_name("apps.py"), source)
    server = serve_process(
        "flask", "--app", "reloaded", "run", "--port", "0", "--debug", cwd=tmp_path
    )
    client = connect(server.url)
    client.listen()
    client.sync("create", {"text": "of the first process"})
    source.write_text(source.read_text().replace("the page", "another page"))
    assert client.gone.wait(30)
    assert requests.get(server.url, timeout=PATIENCE).text == "another page"
    back = connect(server.url)
    back.listen()
    assert back.sync("read") == []


@pytest.mark.slow
def test_a_server_that_stops_takes_its_processes_along(serve_process: Any, connect: Any) -> None:
    server = serve_process(*SERVERS["gunicorn gthread"])
    client = connect(server.url)
    client.listen()
    server.process.terminate()
    assert client.gone.wait(PATIENCE)
    wait_until(lambda: server.process.poll() is not None)
    assert "Traceback" not in server.stop()
