"""Each step of the tutorial in two windows, as its page says."""

from __future__ import annotations

import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from ..databases import PostgreSQL
from ..reverse_proxies import running
from ..support import ROOT, ServerProcess
from ..transport.servers import PEM, WSGIProcess, free_port

pytestmark = pytest.mark.e2e

TUTORIAL = ROOT / "docs" / "tutorial"
ENVIRONMENT = {"FLASK_SECRET_KEY": "of the tests", "PYTHONPATH": str(ROOT)}

Start = Callable[[int], str]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "tasks"


@pytest.fixture
def start(folder: pathlib.Path, closing: ExitStack) -> Start:
    """Serve a copy of a step with ``flask run``; return its address."""

    def start(step: int) -> str:
        shutil.copytree(
            TUTORIAL / f"step{step}",
            folder,
            ignore=shutil.ignore_patterns("instance", "__pycache__"),
        )
        server = ServerProcess("flask", "run", "--port", "0", cwd=folder, **ENVIRONMENT)
        closing.callback(server.stop)
        return server.url

    return start


def flask(
    folder: pathlib.Path,
    *arguments: str,
    stdin: str = "",
    environment: dict[str, str] = ENVIRONMENT,
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flask", *arguments],
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def add(page: Page, title: str) -> None:
    page.get_by_label("New task").fill(title)
    page.get_by_role("button", name="Add").click()


def tasks(page: Page) -> Any:
    return page.locator("#tasks li")


def log_in(page: Page) -> None:
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("secret")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("You are ada.")).to_be_visible()


def live(page: Page) -> None:
    expect(page.get_by_text("live", exact=True)).to_be_visible()


def test_1_what_one_adds_the_other_sees(start: Start, window: Any) -> None:
    url = start(1)
    one, other = window(url), window(url)
    add(one, "<b>buy milk</b>")
    for page in (one, other):
        expect(tasks(page)).to_have_text(["<b>buy milk</b>"])


@pytest.mark.parametrize("step", [2, 3])
def test_2_and_3_rules_check_boxes_and_deleting(
    start: Start, window: Any, folder: pathlib.Path, step: int
) -> None:
    url = start(step)
    one, other = window(url), window(url)
    for page in (one, other):
        live(page)
    add(one, " ")
    expect(one.get_by_role("alert")).to_have_text("needs 1 to 100 characters")
    add(one, "buy milk")
    expect(one.get_by_role("alert")).to_have_text("")
    other.get_by_label("buy milk", exact=True).check()
    expect(one.get_by_label("buy milk", exact=True)).to_be_checked()
    one.get_by_role("button", name="Delete buy milk").click()
    expect(tasks(other)).to_have_count(0)
    expect(tasks(one)).to_have_count(0)
    if step == 3:
        shell = "from app import Task, db; db.session.add(Task(title='from a shell'))"
        flask(folder, "shell", stdin=f"{shell}; db.session.commit()\n")
        for page in (one, other):
            expect(tasks(page)).to_contain_text(["from a shell"])


@pytest.mark.parametrize("step", [4, 5, 6, 7])
def test_4_to_7_logins_and_lists(
    start: Start, window: Any, folder: pathlib.Path, step: int
) -> None:
    url = start(step)
    flask(folder, "create-user", "ada", "--password", "secret")
    visitor, one = window(url), window(url)
    log_in(one)
    tab = window(url, beside=one)
    for page in (visitor, one, tab):
        live(page)
    add(one, "buy milk")
    for page in (visitor, tab):
        expect(tasks(page)).to_contain_text(["buy milk"])
    visitor.get_by_label("buy milk", exact=True).click()
    expect(visitor.get_by_role("alert")).to_have_text("log in to change tasks")
    if step >= 5:
        visitor.get_by_role("link", name="work").click()
        live(visitor)
        expect(tasks(visitor)).to_have_count(0)
    # It is thrown out once the answer to the log-out is there; until then it may write.
    tab.evaluate("() => { tasks.once('backend:disconnect', () => { window.wasOut = true; }); }")
    one.get_by_role("button", name="Log out").click()
    expect(one.get_by_role("button", name="Log in")).to_be_visible()
    tab.wait_for_function("window.wasOut")
    live(tab)
    add(tab, "buy bread")
    expect(tab.get_by_role("alert")).to_have_text("log in to change tasks")


def test_7_as_its_files_for_the_machine_run_it(
    folder: pathlib.Path, closing: ExitStack, window: Any, postgresql: PostgreSQL
) -> None:
    """The unit's command and environment, on PostgreSQL, behind nginx with TLS; and a reload."""
    shutil.copytree(TUTORIAL / "step7", folder, ignore=shutil.ignore_patterns("__pycache__"))
    deploy = folder / "deploy"
    environment = {
        **ENVIRONMENT,
        **dict(re.findall(r"^(\w+)=(.*)$", (deploy / "tasks.env").read_text(), re.M)),
        "FLASK_SQLALCHEMY_DATABASE_URI": closing.enter_context(postgresql.database()),
        "FLASK_TRUSTED_HOSTS": '["127.0.0.1"]',
    }
    flask(folder, "create-user", "ada", "--password", "secret", environment=environment)
    (command,) = re.findall(
        r"^ExecStart=\S+/(gunicorn .*)$", (deploy / "tasks.service").read_text(), re.M
    )
    server = WSGIProcess(*shlex.split(command.replace(":8000", ":0")), cwd=folder, **environment)
    closing.callback(server.stop)
    url = nginx(folder, closing, server.url, (deploy / "nginx.conf").read_text())
    one, other = (window(url, ignore_https_errors=True) for _ in range(2))
    log_in(one)
    for page in (one, other):
        live(page)
    add(one, "buy milk")
    for page in (one, other):
        expect(tasks(page)).to_contain_text(["buy milk"])
    server.process.send_signal(signal.SIGHUP)  # systemctl reload
    add(one, "buy bread")
    expect(tasks(other)).to_contain_text(["buy milk", "buy bread"])


def nginx(folder: pathlib.Path, closing: ExitStack, behind: str, block: str) -> str:
    """Run nginx as certbot leaves its file; return the site's address."""
    port = free_port()
    assert "listen 80;" in block and "http://127.0.0.1:8000;" in block
    tls = f"listen 127.0.0.1:{port} ssl; ssl_certificate {PEM}; ssl_certificate_key {PEM};"
    block = block.replace("listen 80;", tls).replace("http://127.0.0.1:8000;", f"{behind};")
    closing.enter_context(running(folder, "nginx", block, port))
    return f"https://127.0.0.1:{port}"
