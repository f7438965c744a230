"""``flask backboneio``, as a process of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from ..support import ROOT

APP = """
import flask, backboneio
from flask_sqlalchemy import SQLAlchemy

app = flask.Flask("shop")
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///{path}"
db = SQLAlchemy(app)
tasks = backboneio.create_backend()
journal = {journal}
app.wsgi_app = backboneio.WSGIApp(app, {{"tasks": tasks}}, journal=journal)
"""


def run(tmp_path: Path, journal: str) -> subprocess.CompletedProcess[str]:
    """Run the command on an application with this journal."""
    (tmp_path / "shop.py").write_text(APP.format(path=tmp_path / "shop.db", journal=journal))
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "shop", "backboneio", "create-tables"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_creates_the_tables_and_may_run_again(tmp_path: Path) -> None:
    for _ in range(2):
        done = run(tmp_path, "backboneio.SQLJournal(db)")
        assert done.returncode == 0, done.stderr
        assert done.stdout == "The tables of the journals are there, for 'tasks'.\n"
    database = sqlite3.connect(tmp_path / "shop.db")
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    database.close()
    assert {"backboneio_changes", "backboneio_heads", "backboneio_answers"} <= tables


def test_it_says_so_where_no_journal_has_tables(tmp_path: Path) -> None:
    done = run(tmp_path, "None")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no backend here has a journal with tables")
