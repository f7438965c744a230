"""docs/deployment.md: every configuration of a proxy in it passes on pages and clients."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from .support import PATIENCE, ROOT, wait_until
from .transport.servers import PEM, WSGIProcess, free_port, listening
from .transport.support import gunicorn

TEXT = (ROOT / "docs" / "deployment.md").read_text()
BLOCKS = re.findall(r"^```(nginx|apache|haproxy|caddyfile)\n(.*?)^```$", TEXT, re.M | re.S)

#: What only a configuration that ends TLS has.
TLS = ("443", "example.org {")

_NGINX = """
daemon off;
error_log stderr;
pid {folder}/nginx.pid;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{block}
}}
"""
_APACHE = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
Mutex file:{folder}
Listen 127.0.0.1:{port}
ErrorLog /dev/stderr
{user}
{modules}
WSGISocketPrefix {folder}/wsgi
<Directory {folder}>
    Require all granted
</Directory>
{block}
"""
_CADDY = """
{
    admin off
    auto_https off
    default_bind 127.0.0.1
    grace_period 1s
}
"""
_MODULES = ["mpm_event", "authz_core", "headers", "proxy", "proxy_http", "ssl", "wsgi"]
_PAGE = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the page"]
"""


def write(folder: pathlib.Path, kind: str, block: str, port: int) -> list[str]:
    """Write a proxy's configuration; return the command that runs it."""
    root = os.getuid() == 0
    file = folder / kind
    text = block
    if kind == "nginx":
        text = _NGINX.format(folder=folder, block=block, user="user root;" if root else "")
        command = ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(file)]
    elif kind == "apache":
        (folder / "wsgi.py").write_text(_PAGE)
        lines = [f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so" for m in _MODULES]
        user = "User www-data\nGroup www-data" if root else ""
        text = _APACHE.format(
            folder=folder, port=port, block=block, user=user, modules="\n".join(lines)
        ).replace("/srv/myapp", str(folder))
        command = ["apache2", "-D", "FOREGROUND", "-f", str(file)]
    elif kind == "haproxy":
        command = ["haproxy", "-db", "-f", str(file)]
    else:
        text = _CADDY + block
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]
    file.write_text(text)
    program = shutil.which(command[0], path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    assert program, f"{command[0]} is not found: run tools/system-packages proxies"
    return [program, *command[1:]]


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
        log = closing.enter_context((folder / "log").open("w+"))
        process = subprocess.Popen(
            write(folder, kind, block, port),
            env={**os.environ, "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

        def stop() -> None:
            process.terminate()
            process.wait(PATIENCE)

        closing.callback(stop)

        def ready() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            return port in listening(process.pid)

        wait_until(ready)
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
