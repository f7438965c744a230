"""``flask --app example_flask post "Hello"``: a note from the command line, in every browser."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request

import click
from flask import current_app
from flask.cli import with_appcontext

from .board import ROOMS


@click.command()
@click.argument("text")
@click.option("--room", type=click.Choice(list(ROOMS)), default="lobby", show_default=True)
@click.option("--name", default="cli", show_default=True, help="In whose name.")
@click.option(
    "--url",
    envvar="BOARD_URL",
    default="http://127.0.0.1:5000",
    show_default=True,
    show_envvar=True,
    help="Where the board runs.",
)
@with_appcontext
def post(text: str, room: str, name: str, url: str) -> None:
    """Put a note with TEXT on the board that is running at --url.

    The browsers are connected to that process and the notes are in its memory, so this one asks it
    over HTTP, like any other program would. What proves that it may is the token in the instance
    folder, which both can read. (With a Redis journal, a backboneio.Emitter could do without.)
    """
    request = urllib.request.Request(
        f"{url.rstrip('/')}/api/rooms/{room}/notes",
        data=urllib.parse.urlencode({"text": text, "name": name}).encode(),
        headers={"Authorization": f"Bearer {current_app.config['API_TOKEN']}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            note = json.load(response)
    except urllib.error.HTTPError as err:
        try:
            reason = json.load(err)["error"]["message"]
        except ValueError:
            reason = str(err)
        raise click.ClickException(f"The board refused: {reason}") from None
    except (OSError, ValueError) as err:
        raise click.ClickException(
            f"There is no board at {url} ({err}). Start it: flask --app example_flask run"
        ) from None
    click.echo(f"Note {note['id']} is on the board: {url.rstrip('/')}/rooms/{room}")
