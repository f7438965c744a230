"""``flask backboneio`` and ``backboneio``: what they show, and what they cannot know."""

from __future__ import annotations

import json
import os
import runpy
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import flask
import pytest
from click.testing import CliRunner, Result

import backboneio
from backboneio.cli import group, main
from backboneio.middleware import memory_store

from .support import ROOT, LiveServer, wait_until

APP = """
import flask, backboneio
from backboneio.journal import MemoryJournal
from backboneio.middleware import memory_store, sqlalchemy_store
from flask_sqlalchemy import SQLAlchemy

app = flask.Flask("shop")
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///{path}"
db = SQLAlchemy(app)

class Task(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    title = db.Column(db.String(20), nullable=False)

tasks = backboneio.create_backend()

@tasks.use("write")
def guard(req, res, next):
    assert flask.current_app.name == "shop" and req.socket is None
    next()

tasks.use(sqlalchemy_store(Task, db.session))
news = backboneio.create_backend()
memo = backboneio.create_backend(journal=MemoryJournal())
memo.use(memory_store())
bare = backboneio.create_backend(journal=MemoryJournal())
bare.use(sqlalchemy_store(Task, db.session))
journal = {journal}
app.wsgi_app = backboneio.WSGIApp(
    app, {{"tasks": tasks, "news": news, "memo": memo, "bare": bare}}, journal=journal
)
"""
WHY = "is in the memory of the process that serves it, and this is another one: "


class Shop:
    """The application in a folder, and commands on it."""

    def __init__(self, folder: Path, journal: str = "backboneio.SQLJournal(db)") -> None:
        self.path = folder / "shop.db"
        self._file = folder / "shop.py"
        self._file.write_text(APP.format(path=self.path, journal=journal))
        self._options: dict[str, Any] = {
            "cwd": folder,
            "env": {**os.environ, "PYTHONPATH": str(ROOT)},
            "text": True,
        }

    def run(self, *arguments: str, input: str | None = None) -> Result:
        """Run a command on an application that was made anew, as in a process of its own."""
        names = runpy.run_path(str(self._file))
        app: flask.Flask = names["app"]
        try:
            return app.test_cli_runner().invoke(group, arguments, input=input)
        finally:
            if isinstance(journal := names.get("journal"), backboneio.SQLJournal):
                journal.close()
            if "db" in names:
                with app.app_context():
                    names["db"].engine.dispose()

    def output(self, *arguments: str, input: str | None = None) -> str:
        result = self.run(*arguments, input=input)
        assert result.exit_code == 0, result.output
        return result.stdout

    def error(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert isinstance(result.exception, SystemExit)
        assert result.exit_code != 0
        return result.output

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a process."""
        command = [sys.executable, "-m", "flask", "--app", "shop", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, **self._options)

    def shell(self, python: str) -> None:
        """Run Python in ``flask shell``, as somebody at a terminal would."""
        process = self.start("shell")
        process.communicate(python, timeout=60)
        assert process.returncode == 0


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.output("create-tables")
    with closing(sqlite3.connect(shop.path)) as database:
        database.execute("CREATE TABLE task (id INTEGER PRIMARY KEY, title VARCHAR(20) NOT NULL)")
    return shop


def test_it_creates_the_tables_and_may_run_again(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    for _ in range(2):
        assert (
            shop.output("create-tables")
            == "The tables of the journals are there, for 'tasks', 'news'.\n"
        )
    database = sqlite3.connect(shop.path)
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    database.close()
    assert {"backboneio_changes", "backboneio_heads", "backboneio_answers"} <= tables


def test_it_says_so_where_no_journal_has_tables(tmp_path: Path) -> None:
    error = Shop(tmp_path, "None").error("create-tables")
    assert error.startswith("Error: no backend here has a journal with tables")


def test_it_says_so_where_tables_are_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop(tmp_path)
    for arguments in (["stats"], ["tail", "news"], ["emit", "news", "created", '{"id": 1}']):
        caplog.clear()
        assert "the journal is not available" in shop.error(*arguments)
        assert "run `flask backboneio create-tables`" in caplog.text


def test_routes(shop: Shop) -> None:
    lines = [line.split() for line in shop.output("routes").splitlines()]
    crud = ["(create,", "delete,", "patch,", "read,", "update)"]
    assert lines == [
        ["Backend", "Path", "Journal", "Layers"],
        ["tasks", "/socket.io/", "SQLJournal", "guard", "(write)"],
        ["SQLAlchemyStore", *crud],
        ["news", "/socket.io/", "SQLJournal", "none"],
        ["memo", "/socket.io/", "memory", "MemoryStore", *crud],
        ["bare", "/socket.io/", "memory", "SQLAlchemyStore", *crud],
    ]


def test_calls_and_figures(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    one = json.loads(shop.output("call", "tasks", "create", '{"title": "öne"}'))
    assert one == {"id": 1, "title": "öne"}
    assert json.loads(shop.output("call", "tasks", "read")) == [one]
    two = shop.output("call", "tasks", "create", "-", input='{"title": "two"}')
    assert json.loads(two)["id"] == 2
    assert shop.output("emit", "news", "updated", '{"id": 7}', "--channel", "a") == ""
    figures = json.loads(shop.output("stats", "--json"))
    assert figures["tasks"] == {"rev": 2, "changes": 2, "waiting": 0, "answers": 0}
    assert figures["news"]["rev"] == 1
    assert figures["memo"] is None
    lines = shop.output("stats").splitlines()
    assert lines[0] == "tasks: rev 2, changes 2, waiting 0, answers 0"
    assert (
        lines[2] == "memo: in the memory of each process that serves it; not to be seen from here"
    )

    assert shop.error("call", "tasks", "read", '{"id": 9}').startswith("Error: NotFound: there is")
    assert "Invalid: " in shop.error("call", "tasks", "create", '{"title": 1}')
    assert "there is no method 'archive'" in shop.error("call", "tasks", "archive")
    assert "is no JSON" in shop.error("call", "tasks", "create", "{title}")
    assert "model has to be a dict" in shop.error("call", "tasks", "create", "[]")
    assert "there is no backend 'task', only tasks, news" in shop.error("call", "task", "read")
    assert "takes the model, a dict" in shop.error("emit", "news", "created")
    shop.output("emit", "tasks", "updated", '{"id": 1, "title": "no"}')
    assert "is not needed and was left out" in caplog.text


def test_what_another_process_cannot_do_with_a_journal_in_memory(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    assert WHY + "nobody would be told" in shop.error("emit", "memo", "created", '{"id": 1}')
    assert WHY + "so are its models" in shop.error("call", "memo", "create", '{"id": 1}')
    assert WHY + "`backboneio tail http" in shop.error("tail", "memo")
    # Models in a database are there for everybody; only nobody is told of them.
    one = json.loads(shop.output("call", "bare", "create", '{"title": "one"}'))
    assert one == {"id": 1, "title": "one"}
    assert "a change is told to nobody" in caplog.text
    caplog.clear()
    assert json.loads(shop.output("call", "bare", "read")) == [one]
    assert caplog.text == ""


def test_an_application_without_backends(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    (tmp_path / "shop.py").write_text("import flask\napp = flask.Flask('shop')\n")
    assert "this application serves no backends: backboneio.Backbone(app)" in shop.error("stats")


def test_tail_shows_what_any_process_commits(shop: Shop) -> None:
    with ExitStack() as stack:
        watching = {}
        for options in ([], ["--json"], ["--channel", "a"]):
            process = shop.start(
                "backboneio", "tail", "news" if "--channel" in options else "tasks", *options
            )
            stack.callback(_end, process)
            assert process.stderr is not None
            assert process.stderr.readline().startswith("following ")
            watching[" ".join(options)] = process.stdout
        shop.shell(
            "from shop import db, Task\ndb.session.add(Task(title='shell'))\ndb.session.commit()\n"
        )
        assert watching[""].readline() == '1  create  {"id": 1, "title": "shell"}\n'
        assert json.loads(watching["--json"].readline()) == {
            "method": "create",
            "model": {"id": 1, "title": "shell"},
            "rev": 1,
        }
        for channel in ("b", "a"):
            shop.output("emit", "news", "created", '{"id": 1}', "--channel", channel)
        shop.output("emit", "news", "deleted", '{"id": 2}')
        assert watching["--channel a"].readline() == '2  create  {"id": 1}\n'
        assert watching["--channel a"].readline() == '3  delete  {"id": 2}\n'


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def elsewhere(
    app: flask.Flask, messages: backboneio.Backend, serve: Callable[..., LiveServer]
) -> str:
    """Where an application runs that lets only one listen."""

    @messages.use
    def guard(req: Any, res: Any, next: Any) -> None:
        if req.socket is not None and req.socket.auth != {"token": "t"}:
            if req.socket.headers.get("Cookie") != "a=b":
                raise backboneio.Unauthorized("log in first")
        next()

    messages.use(memory_store())
    backboneio.listen(app, {"messages": messages}, path="live")
    return serve(app).url


@pytest.fixture
def tail(elsewhere: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``backboneio tail``."""
    command = [sys.executable, "-c", "from backboneio.cli import group, main; main()", "tail"]
    with ExitStack() as stack:

        def tail(*options: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [*command, elsewhere, "messages", "--path", "live", *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            stack.callback(_end, process)
            return process

        yield tail


@pytest.mark.parametrize(
    "options", [["--auth", '{"token": "t"}'], ["--header", "Cookie: a=b"]], ids=["auth", "header"]
)
def test_tail_of_an_application_elsewhere(
    messages: backboneio.Backend, tail: Any, options: list[str]
) -> None:
    process = tail("--json", *options)
    wait_until(lambda: process.poll() is not None or messages.sockets(None))
    assert process.poll() is None, process.stderr.read()
    messages.emit("created", {"id": 1, "text": "hü"})
    assert json.loads(process.stdout.readline()) == {
        "method": "create",
        "model": {"id": 1, "text": "hü"},
        "rev": 1,
    }


def test_tail_says_why_it_cannot(tail: Any, elsewhere: str) -> None:
    process = tail()
    assert process.communicate(timeout=60)[1] == "Error: refused: log in first\n"
    assert process.returncode == 1
    run = CliRunner().invoke
    for arguments, message in [
        ([elsewhere, "others", "--path", "live"], "refused: Invalid namespace"),
        ([elsewhere, "messages"], "no WebSocket is accepted (HTTP 404)"),
        (["http://127.0.0.1:9", "messages"], "nothing can be reached at 127.0.0.1:9"),
        (["example.org", "messages"], "is no URL of an application"),
        ([elsewhere, "messages", "--header", "nonsense"], "'nonsense' is no header"),
    ]:
        result = run(main, ["tail", *arguments])
        assert result.exit_code != 0
        assert message in result.output
    assert run(main, ["--version"]).output.endswith(f"{backboneio.__version__}\n")
