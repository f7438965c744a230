"""docs/deployment.md: every command in it serves pages and clients."""

from __future__ import annotations

import http.client
import json
import pathlib
import re
import shlex
import sys
from collections.abc import Callable
from typing import Any

import pytest
import requests

from .support import PATIENCE, ROOT, ServerProcess, verified, wait_until
from .transport.servers import WSGIProcess, free_port

TEXT = (ROOT / "docs" / "deployment.md").read_text()
COMMANDS = [
    command
    for command in re.findall(r"^```\n([\w-]+ .*)\n```$", TEXT, re.MULTILINE)
    if "127.0.0.1:8000" in command
]


@pytest.fixture
def run(closing: Any, tmp_path: pathlib.Path) -> Callable[[str], ServerProcess]:
    """Start what the documentation says, on a free port and with the application of the tests."""

    def run(command: str) -> ServerProcess:
        manage = tmp_path / "manage.py"
        manage.write_text(
            "import os, sys\n"
            "from django.core.management import execute_from_command_line\n"
            'os.environ["DJANGO_SETTINGS_MODULE"] = "settings"\n'
            "execute_from_command_line(sys.argv)\n"
        )
        (tmp_path / "settings.py").write_text(
            'DEBUG = True\nROOT_URLCONF = "settings"\nurlpatterns = []\n'
            'WSGI_APPLICATION = "tests.apps.app"\n'
        )
        here = command.replace("8000", str(free_port())).replace("myapp:", "tests.apps:")
        program, *arguments = shlex.split(here)
        if program == "python":
            program, *arguments = [a for a in arguments if a != "-m"]
        if program in ("gunicorn", "waitress-serve", "uwsgi", "cheroot"):
            program = str(pathlib.Path(sys.executable).with_name(program))
        elif program == "manage.py":
            program, arguments = str(manage), [*arguments, "--noreload"]
        server = WSGIProcess(program, *arguments, cwd=tmp_path)
        closing.callback(server.stop)
        # uWSGI's router has a second, private port.
        server.url = re.sub(r"\d+$", re.search(r"127.0.0.1:(\d+)", here)[1], server.url)  # type: ignore[index]
        return server

    return run


def test_the_commands_are_found() -> None:
    programs = [command.split()[0] for command in COMMANDS]
    assert programs == [
        "gunicorn",
        "uwsgi",
        "uwsgi",
        "waitress-serve",
        "cheroot",
        "python",
        "python",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(run: Any, connect: Any, command: str) -> None:
    server = run(command)

    def serves() -> bool:
        try:
            return requests.get(server.url, timeout=PATIENCE).text == "the page"
        except requests.ConnectionError:
            return False

    wait_until(serves)
    author = connect(server.url)
    listener = connect(server.url)
    poller = connect(server.url, transports=["polling"])
    for client in (author, listener, poller):
        client.listen("room")
    author.sync("create", {"text": "hi"})
    for client in (listener, poller):
        assert client.synced() == ["create", {"id": 1, "text": "hi"}]
    # On one connection, unless the server says that it closes it.
    pooled = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=PATIENCE)
    for path in ("/", "/socket.io/backbone.io.js", "/", "/nothing", "/"):
        pooled.request("GET", path)
        response = pooled.getresponse()
        assert response.status == (404 if path == "/nothing" else 200)
        response.read()
    pooled.close()
    assert "Traceback" not in server.stop()


@pytest.mark.slow
def test_the_command_of_the_container(run: Any, connect: Any) -> None:
    (text,) = re.findall(r"^CMD (.*)$", TEXT, re.MULTILINE)
    command = shlex.join(json.loads(text)).replace("0.0.0.0", "127.0.0.1")
    server = run(command)
    connect(server.url).listen()


def test_systemd_takes_the_unit(tmp_path: pathlib.Path) -> None:
    (unit,) = re.findall(r"^```ini\n(\[Unit\].*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert verified(unit, tmp_path) == ""
    assert "Restrat" in verified(unit.replace("Restart", "Restrat"), tmp_path)
    start = re.search(r"^ExecStart=\S+/(.*)$", unit, re.MULTILINE)
    assert start and start[1] in COMMANDS
