"""docs/deployment.md: every configuration of a proxy in it passes on pages and clients."""

from __future__ import annotations

import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from .reverse_proxies import running
from .support import PATIENCE, ROOT, wait_until
from .transport.servers import PEM, WSGIProcess, free_port
from .transport.support import gunicorn

TEXT = (ROOT / "docs" / "deployment.md").read_text()
BLOCKS = re.findall(r"^```(nginx|apache|haproxy|caddyfile)\n(.*?)^```$", TEXT, re.M | re.S)

#: What only a configuration that ends TLS has.
TLS = ("443", "example.org {")


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """A folder that other users may read: Apache does not stay root."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


@pytest.fixture
def proxy(closing: ExitStack, folder: pathlib.Path) -> Callable[[str, str], str]:
    """Start a proxy in front of gunicorn; return its address."""

    def start(kind: str, block: str) -> str:
        server = WSGIProcess(*gunicorn("-k", "gthread", "--threads", "4", "tests.apps:proxied"))
        closing.callback(server.stop)
        port = free_port()
        is_tls = any(mark in block for mark in TLS)  # a port of ours may look like one
        block = block.replace("127.0.0.1:8000", server.url.partition("//")[2])
        for there, here in (
            ("listen 80;", f"listen 127.0.0.1:{port};"),
            ("listen 443 ", f"listen 127.0.0.1:{port} "),
            ("bind :80", f"bind 127.0.0.1:{port}"),
            ("bind :443 ", f"bind 127.0.0.1:{port} "),
            ("<VirtualHost *:443>", f"<VirtualHost 127.0.0.1:{port}>"),
            (":80 {", f":{port} {{"),  # with default_bind
            ("example.org {", f"https://127.0.0.1:{port} {{\n    tls {PEM} {PEM}"),
            ("/etc/ssl/myapp.pem", PEM),
            ("/etc/ssl/myapp.key", PEM),
        ):
            block = block.replace(there, here)
        closing.enter_context(running(folder, kind, block, port))
        return f"{'https' if is_tls else 'http'}://127.0.0.1:{port}"

    return start


def test_the_configurations_are_found() -> None:
    kinds = ["nginx", "apache", "haproxy", "caddyfile"]
    assert [kind for kind, _ in BLOCKS] == [*kinds, *kinds, "apache"]
    assert [any(mark in block for mark in TLS) for _, block in BLOCKS] == (
        [False] * 4 + [True] * 4 + [False]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "block"), BLOCKS, ids=[f"{k}{n}" for n, (k, _) in enumerate(BLOCKS)]
)
def test_a_configuration(proxy: Any, connect: Any, kind: str, block: str) -> None:
    """On another port than 80, which the origin names: the client sends it with a WebSocket."""
    url = proxy(kind, block)
    wait_until(lambda: requests.get(url, timeout=PATIENCE, verify=PEM).text == "the page")
    clients = [
        connect(url, transports=transports, verify=PEM)
        for transports in (["websocket"], ["polling"], ["polling", "websocket"])
    ]
    for client in clients:
        client.listen("room")
    wait_until(lambda: clients[2].sio.transport() == "websocket")
    clients[0].sync("create", {"text": "hi"})
    for client in clients[1:]:
        assert client.synced() == ["create", {"id": 1, "text": "hi"}]
