"""What a page's code is played on: the names that the application around it would have.

All Python blocks of a page run one after the other in one namespace, so what one has made the next
one has. What a page takes for granted (a table, who is a member) it finds here. A function that is
called ``test_...`` is run as well, with arguments from the namespace.
"""

from __future__ import annotations

import contextlib
import datetime
import inspect
import pathlib
import re
import sys
import time
import types
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import flask
import flask_login
import flask_sqlalchemy
import pytest
from sqlalchemy import String, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.local import LocalProxy
from werkzeug.wrappers import Response

import backboneio
from backboneio.journal import MemoryJournal

from .blocks import blocks, source

#: The page that makes its own database, and so must not find one.
MAKES_DATABASE = "sql.md"
#: Pages whose tests are of an application that they do not show.
EXCERPTS = {"server.md"}


class User(flask_login.UserMixin):  # type: ignore[misc]
    """Somebody who is logged in."""

    id, name, active = "ada", "Ada", True

    @property
    def is_active(self) -> bool:
        return self.active


def _application(folder: pathlib.Path) -> flask.Flask:
    app = flask.Flask("docs", instance_path=str(folder))
    app.config.update(SECRET_KEY="of the tests", TESTING=True, HOOK_TOKEN="secret")
    app.config["INSPECTOR_PASSWORD"] = "secret"
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder}/docs.db"
    manager = flask_login.LoginManager(app)
    manager.user_loader(lambda user_id: User())
    app.add_url_rule("/log-in", "log_in", lambda: str(flask_login.login_user(User())))
    return app


def _database(app: flask.Flask) -> dict[str, Any]:
    db = flask_sqlalchemy.SQLAlchemy(app)

    class Task(db.Model):  # type: ignore[name-defined,misc]
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str] = mapped_column(String(100))
        done: Mapped[bool] = mapped_column(default=False)
        due: Mapped[datetime.date | None]

    return {"db": db, "Task": Task}


def _names(app: flask.Flask) -> dict[str, Any]:
    """What pages take for granted."""
    names: dict[str, Any] = {
        "__name__": "page",
        "abort": flask.abort,
        "app": app,
        "backboneio": backboneio,
        "audit": lambda req, res, next: next(),
        "banned": "192.0.2.1",
        "bson": types.SimpleNamespace(ObjectId=type("ObjectId", (), {})),
        "current_user": flask_login.current_user,
        "datetime": datetime,
        "flask": flask,
        "flask_login": flask_login,
        "forget_membership": lambda user_id, room: None,
        "front_page": Response("the front page"),
        "index": lambda model: None,
        "is_member": lambda user, room: room == "lobby",
        "layer": lambda req, res, next: next(),
        "logout_user": flask_login.logout_user,
        "make": lambda name: MemoryJournal(),
        "mapped_column": mapped_column,
        "messages": backboneio.create_backend(),
        "models": {},
        "name": "ada",
        "name_of": lambda token: token,
        "notes": backboneio.create_backend(),
        "pytest": pytest,
        "redirect": flask.redirect,
        "request": flask.request,
        "require_login": lambda req, res, next: next(),
        "require_member": lambda req, res, next: next(),
        "res": backboneio.Response(lambda outcome: None),
        "rooms": backboneio.create_backend(),
        "session": flask.session,
        "sqlalchemy_store": backboneio.middleware.sqlalchemy_store,
        "tasks": backboneio.create_backend(),
        "text": text,
        "time": time,
        "tracer": mock.MagicMock(),
        "update": update,
        "user": User(),
        "user_id": "ada",
        "uuid": uuid,
        "IntegrityError": IntegrityError,
        "Mapped": Mapped,
        "SQLAlchemy": flask_sqlalchemy.SQLAlchemy,
        "String": String,
        "WSGIApp": backboneio.WSGIApp,
        "model": {"id": 1, "text": "hi"},
    }
    names["sio"] = backboneio.listen(app, {"messages": names["messages"]})
    return names


def _modules() -> dict[str, Any]:
    """Modules that pages import and that are not there."""
    live = types.ModuleType("tasks.live")
    live.tasks = backboneio.create_backend()  # type: ignore[attr-defined]
    wsgi = types.ModuleType("django.core.wsgi")
    wsgi.get_wsgi_application = lambda: Response("Django's page")  # type: ignore[attr-defined]
    celery = types.ModuleType("celery")
    celery.shared_task = lambda function: function  # type: ignore[attr-defined]
    tasks = types.ModuleType("tasks")
    return {"celery": celery, "tasks": tasks, "tasks.live": live, "django.core.wsgi": wsgi}


@contextmanager
def played(page: str, folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Run all Python of a page in one namespace, as if the page were a module; it is given."""
    app = _application(folder)
    names = _names(app)
    if page == MAKES_DATABASE:
        names["session"] = LocalProxy(lambda: names["db"].session)
    else:
        names.update(_database(app))
    with contextlib.ExitStack() as stack:
        # What is imported for the first time meanwhile stays.
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, module in _modules().items():
            patch.setitem(sys.modules, name, module)
        stack.enter_context(app.app_context())
        stack.callback(lambda: _close(names))
        for block in blocks(page, "python"):
            _run(page, block.line, block.text, names)
        names["db"].create_all()
        for name, value in list(names.items()):
            if page not in EXCERPTS and name.startswith("test_") and inspect.isfunction(value):
                value(*(names[argument] for argument in inspect.signature(value).parameters))
        yield names


def _run(page: str, line: int, code: str, names: dict[str, Any]) -> None:
    """Run one block. One that serves the application, serves it anew."""
    if re.search(r"\b(WSGIApp|listen)\(\s*app\b", code) and "app" in names:
        vars(names["app"]).pop("wsgi_app", None)
    if "db" in names:
        names["db"].create_all()
    compiled = compile("\n" * (line - 1) + code, str(source(page)), "exec", dont_inherit=True)
    exec(compiled, names)


def _close(names: dict[str, Any]) -> None:
    names["db"].session.remove()
    names["db"].engine.dispose()
