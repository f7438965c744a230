"""A shared board: the example application. ``flask --app example_flask run`` starts it.

This file is an ordinary Flask application: a page, a login, and two ways in that need no
JavaScript. What makes it live is ``board.py`` on the server, ``static/board.js`` in the browser,
and one line here: ``app.wsgi_app = backboneio.WSGIApp(...)``.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Any

import flask
from flask import Flask, abort, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

import backboneio
from backboneio.errors import error_object

from . import board
from .commands import post
from .logins import Logins

# Backbone and what it needs, as npm installs them: the page loads nothing from elsewhere.
NODE_MODULES = Path(__file__).parents[1] / "js" / "node_modules"
VENDOR = {
    "jquery.js": "jquery/dist/jquery.min.js",
    "underscore.js": "underscore/underscore-umd-min.js",
    "backbone.js": "backbone/backbone-min.js",
}
#: What other programs are told over HTTP; 400 for everything else.
STATUS = {"Unauthorized": 401, "NotFound": 404, "TooLarge": 413, "Invalid": 422}


def create_app(config: dict[str, Any] | None = None) -> Flask:
    app = Flask(__name__)
    app.config["SESSION_COOKIE_NAME"] = "board"
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # other sites' forms come without a session
    app.config.from_prefixed_env()  # FLASK_SECRET_KEY, FLASK_API_TOKEN
    app.config.update(config or {})
    for name in ("SECRET_KEY", "API_TOKEN"):
        app.config[name] = app.config.get(name) or _kept_secret(app, name.lower())

    logins = Logins()

    def visitor() -> str | None:
        """The name of whoever is logged in; in views and in the layers of a backend alike."""
        return session.get("name") if logins.goes_on(session) else None

    notes = board.make_notes(visitor)
    people = board.make_people(visitor)
    live = backboneio.WSGIApp(app, {"notes": notes, "people": people})
    app.wsgi_app = live  # type: ignore[method-assign]
    live.sio.on("disconnect", lambda sid, reason: board.gone(people, sid), namespace="/people")

    # Guarding the door

    @app.before_request
    def no_foreign_forms() -> None:
        """Refuse forms that other sites send: browsers say so. SameSite is the second lock."""
        if request.method == "POST" and request.headers.get("Sec-Fetch-Site", "") in (
            "cross-site",
            "same-site",
        ):
            abort(403, "this form was sent by another site")

    @app.url_value_preprocessor
    def no_other_rooms(endpoint: str | None, values: dict[str, Any] | None) -> None:
        if values and values.get("room", "lobby") not in board.ROOMS:
            abort(404, "there is no such room")

    @app.after_request
    def no_foreign_content(response: flask.Response) -> flask.Response:
        response.headers["Content-Security-Policy"] = (
            "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        )
        return response

    # The page

    @app.get("/")
    def index() -> ResponseReturnValue:
        return redirect(url_for("show", room="lobby"))

    @app.get("/rooms/<room>")
    def show(room: str) -> ResponseReturnValue:
        return render_template(
            "board.html",
            board=board,
            room=room,
            name=visitor(),
            notes=notes.call("read", channel=room),  # for the first paint, and without JavaScript
        )

    @app.post("/rooms/<room>/notes")
    def add(room: str) -> ResponseReturnValue:
        """Add a note by the page's form where JavaScript is off; every browser shows it at once."""
        try:
            notes.call("create", {"text": request.form.get("text")}, channel=room)
        except backboneio.SyncError as err:
            flash(err.message)
        return redirect(url_for("show", room=room))

    @app.post("/rooms/<room>/login")
    def login(room: str) -> ResponseReturnValue:
        """Believe the name. An application that is no demonstration asks for a password."""
        name = " ".join(request.form.get("name", "").split())
        if 0 < len(name) <= board.MAX_NAME:
            session.update(name=name, **logins.begin())
        else:
            flash(f"A name has 1 to {board.MAX_NAME} characters.")
        return redirect(url_for("show", room=room))

    @app.post("/rooms/<room>/logout")
    def logout(room: str) -> ResponseReturnValue:
        logins.end(session)
        session.clear()
        return redirect(url_for("show", room=room))

    @app.get("/vendor/<name>")
    def vendor(name: str) -> ResponseReturnValue:
        if name not in VENDOR:
            abort(404)
        if not NODE_MODULES.is_dir():
            abort(503, "Backbone is not installed: run 'make demo', or 'npm ci' in js/.")
        return flask.send_from_directory(NODE_MODULES, VENDOR[name])

    # Other programs

    @app.post("/api/rooms/<room>/notes")
    def api_add(room: str) -> ResponseReturnValue:
        """Add a note from elsewhere: a webhook, a script, ``flask post`` (see ``commands.py``).

        ``curl -H "Authorization: Bearer $(cat instance/api_token)" -d text=Hi -d name=Bob URL``
        """
        given = request.authorization and request.authorization.token
        if not hmac.compare_digest((given or "").encode(), app.config["API_TOKEN"].encode()):
            abort(401)
        g.name = request.form.get("name") or "api"  # in whose name: see log_in_first in board.py
        try:
            return notes.call("create", {"text": request.form.get("text")}, channel=room), 201
        except backboneio.SyncError as err:
            return error_object(err), STATUS.get(err.name, 400)

    app.cli.add_command(post)
    return app


def _kept_secret(app: Flask, name: str) -> str:
    """Return a secret from the instance folder; the first one to ask makes it up."""
    path = Path(app.instance_path, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = path.with_name(f"{name}.{os.getpid()}")
    mine.touch(mode=0o600)
    mine.write_text(secrets.token_urlsafe(32))
    try:
        os.link(mine, path)  # whole or not at all, and only if there is none
    except FileExistsError:
        pass
    finally:
        mine.unlink()
    return path.read_text()
