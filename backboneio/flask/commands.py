"""Commands: ``flask backboneio``, on every Flask application that serves backends."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import AppGroup

from . import extension

group = AppGroup("backboneio", help="Collections that are kept in sync, live.")


@group.command("create-tables")
def create_tables() -> None:
    """Create the tables of the journals that are missing."""
    apps = extension.of(current_app).apps.values()
    names = [repr(name) for live in apps for name in live.create_tables()]
    if not names:
        raise click.ClickException(
            "no backend here has a journal with tables: WSGIApp(..., journal=SQLJournal(db))"
        )
    click.echo(f"The tables of the journals are there, for {', '.join(names)}.")
