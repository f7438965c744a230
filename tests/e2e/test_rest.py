"""An ordinary application over REST and its pages: as it was, and live by a few lines."""

from __future__ import annotations

import difflib
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import pytest

from ..support import ROOT, LiveServer
from .conftest import Window
from .lab import NODE_MODULES

pytestmark = pytest.mark.e2e

FOLDER = ROOT / "tests" / "rest"
SHELL = "db.session.add(Task(title='by a shell')); db.session.commit()"


@pytest.mark.parametrize("version", ["before", "after"])
def test_what_one_page_does_shows_in_the_other(
    window: Window,
    serve: Callable[..., LiveServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/tasks.db")
    made: dict[str, Any] = runpy.run_path(str(FOLDER / version / "app.py"))
    app, db = made["app"], made["db"]
    app.add_url_rule(
        "/vendor/<path:path>", "vendor", lambda path: flask.send_from_directory(NODE_MODULES, path)
    )
    with app.app_context():
        db.create_all()
    url = serve(app).url
    one = window(url)
    other = window(url)
    if version == "after":
        for page in (one, other):
            page.wait_for_function("tasks.backend.connected")
    one.evaluate("""
        window.most = 0;
        tasks.on('add', function() { most = Math.max(most, tasks.length); });
        tasks.create({title: 'by REST'});
    """)
    for page in (one, other):
        page.wait_for_function("$('li').text() === 'by REST' && !tasks.first().isNew()")
    other.evaluate("tasks.first().save({title: 'changed'})")
    one.wait_for_function("$('li').text() === 'changed'")
    assert one.evaluate("most") == 1
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "shell"],
        input=f"from app import Task, db\n{SHELL}\n",
        cwd=FOLDER / version,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        check=True,
        timeout=60,
    )
    for page in (one, other):
        page.wait_for_function("$('li').last().text() === 'by a shell' && tasks.length === 2")


def test_the_docs_show_the_difference() -> None:
    changed = []
    for name in ("app.py", "index.html"):
        before, after = (
            (FOLDER / version / name).read_text().splitlines() for version in ("before", "after")
        )
        changed += [line for line in difflib.ndiff(before, after) if line[:2] in ("+ ", "- ")]
    lines = [line.rstrip() for line in changed if line[2:].strip()]
    shown = (
        (ROOT / "docs" / "moving" / "polling.md").read_text().split("```diff\n")[1].split("```")[0]
    )
    assert shown.splitlines() == lines
    assert sum(line.startswith("+") for line in lines) <= 10
