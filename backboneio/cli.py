"""The commands: ``flask backboneio`` for an application, ``backboneio`` for one elsewhere."""

from __future__ import annotations

import json
import queue
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
from flask import current_app
from flask.cli import AppGroup

from .backend import Backend
from .errors import SyncError
from .flask import extension
from .journal import Journal, MemoryJournal
from .middleware import MemoryStore
from .model import EVENTS, Change
from .remote import LostError, RefusedError, Remote
from .wsgi import WSGIApp

group = AppGroup("backboneio", help="Collections that are kept in sync, live.")

_channel = click.option("--channel", help="The channel; default the one without a name.")
_as_json = click.option("--json", "as_json", is_flag=True, help="One JSON value a line.")


def _json(value: str) -> Any:
    """Parse an argument that is JSON, or ``-`` for what comes on standard input."""
    try:
        return json.loads(sys.stdin.read() if value == "-" else value)
    except ValueError as err:
        raise click.BadParameter(f"{value:.60} is no JSON: {err}") from None


def _apps() -> list[WSGIApp]:
    apps: list[Any] = list(extension.of(current_app).apps.values())
    if not apps:
        raise click.ClickException(
            "this application serves no backends: backboneio.Backbone(app), or init_app(app)"
        )
    return apps


def _backend(name: str) -> Backend:
    known = {name: sync.backend for app in _apps() for name, sync in app.syncs.items()}
    if name not in known:
        raise click.ClickException(f"there is no backend {name!r}, only {', '.join(known)}")
    return known[name]


def _is_alone(backend: Backend) -> bool:
    """Whether its journal is in this process's memory: nobody is connected here."""
    return isinstance(backend.journal, MemoryJournal)


def _kind(journal: Journal) -> str:
    """What a journal is called: as its application wrote it, where it says that, else its class."""
    return getattr(journal, "kind", type(journal).__name__)


def _alone(name: str, what: str) -> NoReturn:
    raise click.ClickException(
        f"the journal of {name!r} is in the memory of the process that serves it, and this is "
        f"another one: {what}. With backboneio.SQLJournal(db) all processes share it"
    )


@group.command()
def routes() -> None:
    """Show the backends: where they are served, their journals and layers."""
    rows = [("Backend", "Path", "Journal", "Layers")]
    for app in _apps():
        for name, sync in app.syncs.items():
            journal = "memory" if _is_alone(sync.backend) else _kind(sync.journal)
            layers = [
                getattr(layer.function, "__name__", type(layer.function).__name__)
                + ("" if layer.methods is None else f" ({', '.join(sorted(layer.methods))})")
                for layer in sync.backend.layers
            ]
            rows += [
                (name, app.prefix, journal, layers[0] if layers else "none"),
                *(("", "", "", layer) for layer in layers[1:]),
            ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)]
        click.echo("  ".join([*cells, row[3]]))


@group.command()
@_as_json
def stats(as_json: bool) -> None:
    """Show what the journals hold.

    Who is connected is known to the processes that serve them alone: there,
    app.extensions["backboneio"].stats() tells. So is a journal in memory; one in a database
    is the same for everybody.
    """
    found: dict[str, dict[str, int] | None] = {}
    for app in _apps():
        for name, sync in app.syncs.items():
            figures = getattr(sync.journal, "figures", None)
            try:
                found[name] = None if figures is None else figures()
            except SyncError as err:
                raise click.ClickException(err.message) from None
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, each in found.items():
        text = "in the memory of each process that serves it; not to be seen from here"
        if each is not None:
            text = ", ".join(f"{key} {value}" for key, value in each.items())
        click.echo(f"{name}: {text}")


@group.command()
@click.argument("backend")
@click.option("--channel", help="What this channel is told; default all that is told.")
@_as_json
def tail(backend: str, channel: str | None, as_json: bool) -> None:
    """Show the changes of BACKEND as they are made, by whichever process; Ctrl-C ends it."""
    found = _backend(backend)
    if _is_alone(found):
        _alone(backend, f"`backboneio tail http://127.0.0.1:5000 {backend}` listens to that one")
    assert found.journal is not None
    told: queue.SimpleQueue[Change] = queue.SimpleQueue()
    found.journal.follow(lambda change, token: told.put(change))
    try:
        _say(f"following {backend!r} after rev {found.journal.begun}")
    except SyncError as err:
        raise click.ClickException(err.message) from None
    while True:
        change = told.get()
        if channel is None or change.channels is None or channel in change.channels:
            _show(change.method, change.model, {"rev": change.rev}, as_json)


@group.command()
@click.argument("backend")
@click.argument("event", type=click.Choice(list(EVENTS)))
@click.argument("model", type=_json, required=False)
@click.option("--channel", help="Tell this channel only; default everyone.")
def emit(backend: str, event: str, model: Any, channel: str | None) -> None:
    """Tell pages that MODEL (JSON, or - for standard input) was changed.

    The store is not changed; what SQLAlchemy commits of a live class is told by itself.
    """
    found = _backend(backend)
    if _is_alone(found):
        _alone(backend, "nobody would be told")
    try:
        found.emit(event, model, channel)
    except (SyncError, TypeError, ValueError) as err:
        raise click.ClickException(str(err)) from None


@group.command()
@click.argument("backend")
@click.argument("method")
@click.argument("model", type=_json, default="{}")
@click.option("--options", type=_json, default="{}", help="Those of Backbone, as JSON.")
@_channel
def call(backend: str, method: str, model: Any, options: Any, channel: str | None) -> None:
    """Run a request through the layers of BACKEND, as server code, and show the answer.

    METHOD is create, read, update, patch, delete or one of your own; MODEL is JSON, or - for
    standard input.
    """
    found = _backend(backend)
    if _is_alone(found) and any(isinstance(one.function, MemoryStore) for one in found.layers):
        _alone(backend, "so are its models, and here are none")
    try:
        answer = found.call(method, model, options, channel=channel)
    except SyncError as err:
        raise click.ClickException(f"{err.name}: {err.message}") from None
    except (TypeError, ValueError) as err:
        raise click.ClickException(str(err)) from None
    click.echo(json.dumps(answer, ensure_ascii=False))


@group.command("create-tables")
def create_tables() -> None:
    """Create the tables of the journals that are missing."""
    names = [repr(name) for app in _apps() for name in app.create_tables()]
    if not names:
        raise click.ClickException(
            "no backend here has a journal with tables: WSGIApp(..., journal=SQLJournal(db))"
        )
    click.echo(f"The tables of the journals are there, for {', '.join(names)}.")


@click.group()
@click.version_option(package_name="backboneio")
def main() -> None:
    """Collections that are kept in sync, live. `flask backboneio` knows your application."""


@main.command("tail")
@click.argument("url")
@click.argument("backend")
@_channel
@_as_json
@click.option("--path", default="socket.io", show_default=True, help="That of its WSGIApp.")
@click.option("--header", "headers", multiple=True, help='As in "Cookie: session=...".')
@click.option("--auth", type=_json, help="What layers find as req.socket.auth, as JSON.")
def tail_elsewhere(
    url: str,
    backend: str,
    channel: str | None,
    as_json: bool,
    path: str,
    headers: tuple[str, ...],
    auth: Any,
) -> None:
    """Show the changes of BACKEND of the application at URL as they are made; Ctrl-C ends it.

    What its layers let a page hear is heard. When the connection is lost, what was missed comes
    later.

    It needs a WebSocket and does not fall back to long-polling: behind a proxy that lets none
    through, give the URL of the server itself.
    """
    given = []
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter(f"{header!r} is no header: Name: value", param_hint="--header")
        given.append((name.strip(), value.strip()))
    try:
        remote = Remote(url, backend, channel, path=path, headers=given, auth=auth)
        show: Callable[[str, Any, dict[str, Any]], None]
        show = lambda method, model, meta: _show(method, model, meta, as_json)  # noqa: E731
        remote.follow(show, _say)
    except RefusedError as err:
        raise click.ClickException(f"refused: {err}") from None
    except (LostError, ValueError) as err:
        raise click.ClickException(str(err)) from None


def _show(method: str, model: Any, meta: dict[str, Any], as_json: bool) -> None:
    """Write a line about a change."""
    text = json.dumps(model, ensure_ascii=False)
    if as_json:
        text = json.dumps({"method": method, "model": model, **meta}, ensure_ascii=False)
        click.echo(text)
    else:
        click.echo(f"{meta['rev']}  {method}  {text}")


def _say(text: str) -> None:
    """Write a line that is not output."""
    click.echo(text, err=True)
