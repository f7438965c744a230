"""A shared board: the example application. ``flask --app example_flask run`` starts it."""

import secrets
from contextlib import suppress
from typing import Any

from flask import Flask, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

import backboneio
from backboneio import Next, Request, Response
from backboneio.journal import MemoryJournal
from backboneio.middleware import memory_store, sqlalchemy_store

from . import models
from .models import MAX_NAME, ROOMS, Login, Note, db, visitor


def create_app(config: dict[str, Any] | None = None) -> Flask:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = secrets.token_hex()  # FLASK_SECRET_KEY keeps logins over a restart
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # other sites' forms come without a session
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///board.db"  # in the instance folder
    app.config.from_prefixed_env()
    app.config.update(config or {})
    db.init_app(app)
    live = backboneio.Backbone(app, journal=backboneio.SQLJournal(db))
    notes = live.backend("notes")
    notes.use("write", log_in_first)
    server_only = ["author", "editor", "hue", "at"]
    notes.use(sqlalchemy_store(Note, db.session, channel=Note.room, read_only=server_only))
    serve_people(live, app)
    add_views(app, notes)
    with app.app_context():
        db.create_all()
    return app


def log_in_first(req: Request, res: Response, next: Next) -> None:
    if visitor() is None:
        raise backboneio.Unauthorized("Log in to write on the board.")
    next()


def serve_people(live: backboneio.Backbone, app: Flask) -> None:
    """Who is looking at which room: one model a page, and the server alone writes."""
    people = live.backend("people", journal=MemoryJournal())  # not to be kept over a restart

    @people.listen
    def arrive(req: Request, res: Response, next: Next) -> None:
        if req.socket is None or req.channel not in ROOMS:
            raise backboneio.NotFound("there is no such room")
        next()  # accepted: from here on the page hears, itself included
        person = {"id": req.socket.sid, "name": visitor(), "hue": models.hue(visitor())}
        with suppress(backboneio.Conflict):  # it has listened before
            people.call("create", person, channel=req.channel)

    @people.use("write")
    def server_only(req: Request, res: Response, next: Next) -> None:
        if req.socket is not None:
            raise backboneio.Forbidden("people come and go by opening and closing the page")
        next()

    people.use(memory_store(per_channel=True))

    def gone(sid: str, reason: str) -> None:
        for room in ROOMS:
            with suppress(backboneio.NotFound):  # was in the other room
                people.call("delete", {"id": sid}, channel=room)

    live.served(app).sio.on("disconnect", gone, namespace="/people")


def add_views(app: Flask, notes: backboneio.Backend) -> None:
    room_url = f"/rooms/<any({','.join(ROOMS)}):room>"

    @app.get("/", defaults={"room": "lobby"})
    @app.get(room_url)
    def show(room: str) -> ResponseReturnValue:
        painted = notes.call("read", channel=room)  # for the first paint, and without JavaScript
        return render_template("board.html", board=models, room=room, name=visitor(), notes=painted)

    @app.post(f"{room_url}/notes")
    def add(room: str) -> ResponseReturnValue:  # by the page's form where JavaScript is off
        try:
            notes.call("create", {"text": request.form.get("text", "")}, channel=room)
        except backboneio.SyncError as err:
            flash(err.message)
        return redirect(url_for("show", room=room))

    @app.post(f"{room_url}/login")
    def login(room: str) -> ResponseReturnValue:
        """Believe the name. An application that is no demonstration asks for a password."""
        name = " ".join(request.form.get("name", "").split())
        if 0 < len(name) <= MAX_NAME:
            login = Login(name=name)
            db.session.add(login)
            db.session.commit()
            session["login"] = login.id
        else:
            flash(f"A name has 1 to {MAX_NAME} characters.")
        return redirect(url_for("show", room=room))

    @app.post(f"{room_url}/logout")
    def logout(room: str) -> ResponseReturnValue:
        if login := db.session.get(Login, session.pop("login", "")):
            db.session.delete(login)
            db.session.commit()
        return redirect(url_for("show", room=room))
