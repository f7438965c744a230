"""Proxies of Debian's that are run for a test, on a configuration as people have it."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from .support import PATIENCE, wait_until
from .transport.servers import listening

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


def _write(folder: pathlib.Path, kind: str, block: str, port: int) -> list[str]:
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


@contextmanager
def running(folder: pathlib.Path, kind: str, block: str, port: int) -> Iterator[None]:
    """Run a proxy whose configuration has *block*, once it listens on *port* of this machine."""
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            _write(folder, kind, block, port),
            env={**os.environ, "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

        def ready() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            return port in listening(process.pid)

        try:
            wait_until(ready)
            yield
        finally:
            # Asked to end, Apache takes ten seconds for the connections that are still open.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
            log.seek(0)
            print(f"{kind} printed:\n{log.read()}")  # noqa: T201
