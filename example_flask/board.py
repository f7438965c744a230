"""The board's two backends: the notes, and the people who are looking at them.

Every layer below guards all ways in at once: browsers, the plain form, the API, and ``flask post``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from flask import g

import backboneio
from backboneio import Backend, Request, Response

Next = Callable[..., None]
Visitor = Callable[[], str | None]

#: The rooms: each is a channel, and who listens to one hears nothing of the other.
ROOMS = {"lobby": "Lobby", "workshop": "Workshop"}
MAX_TEXT = 280
MAX_NAME = 24
MAX_NOTES = 1000


def hue(name: str) -> int:
    """Return which of the style sheet's eight colours is a person's."""
    return zlib.crc32(name.encode()) % 8


def make_notes(visitor: Visitor) -> Backend:
    """Return the backend of the notes: anybody may read and hear, who is logged in may write."""
    notes = backboneio.create_backend()
    notes.use(known_room)

    @notes.use("create", "update", "patch", "delete")
    def log_in_first(req: Request, res: Response, next: Next) -> None:
        req.name = g.get("name") or visitor()  # g.name: a view has checked who it is
        if req.name is None:
            raise backboneio.Unauthorized("Log in to write on the board.")
        next()

    @notes.update
    def patches_only(req: Request, res: Response) -> None:
        # A whole model would overwrite what somebody else changes in it at the same moment.
        raise backboneio.BadRequest("save a note's changes with {patch: true}")

    @notes.use("create", "patch")
    def validate(req: Request, res: Response, next: Next) -> None:
        # Take what a browser may choose and nothing else: author and time are not its to say.
        sent, fields = req.model, {}
        changes: dict[str, Any] = {}
        if "text" in sent or req.method == "create":
            changes["text"] = str(sent.get("text") or "").strip()
            if not changes["text"]:
                fields["text"] = "Write something first."
            elif len(changes["text"]) > MAX_TEXT:
                fields["text"] = f"Keep it to {MAX_TEXT} characters, please."
        if "done" in sent:
            changes["done"] = sent["done"] is True
        if fields:
            raise backboneio.Invalid(" ".join(fields.values()), fields)
        if req.method == "create":
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            req.model = {"done": False, **changes}
            req.model |= {"author": req.name, "hue": hue(req.name), "created": now}
        else:
            req.model = {"id": sent.get("id"), **changes}
            if "text" in changes:
                req.model["editor"] = req.name
        next()

    @notes.patch
    def not_over_others_words(req: Request, res: Response, next: Next) -> None:
        # The page sends along the text that was there when editing began. Writers of one note take
        # turns, so nobody can come in between this look and the change.
        if "was" in req.options:
            note = notes.call("read", {"id": req.model["id"]}, channel=req.channel)
            if note["text"] not in (req.options["was"], req.model.get("text")):
                who = note.get("editor", note["author"])
                raise backboneio.Conflict(f"{who} has changed this note meanwhile.", note=note)
        next()

    notes.use(backboneio.middleware.memory_store(per_channel=True, max_models=MAX_NOTES))
    return notes


def make_people(visitor: Visitor) -> Backend:
    """Return the backend of who is looking at which room; the server alone writes to it."""
    people = backboneio.create_backend()
    people.use(known_room)

    @people.listen
    def arrive(req: Request, res: Response, next: Next) -> None:
        next()  # accepted: from here on it hears, itself included
        assert req.socket is not None
        name = visitor()
        person = {"id": req.socket.sid, "name": name, "hue": hue(name or "")}
        try:
            people.call("create", person, channel=req.channel)
        except backboneio.Conflict:  # has listened before
            pass

    @people.use("create", "update", "patch", "delete")
    def server_only(req: Request, res: Response, next: Next) -> None:
        if req.socket is not None:
            raise backboneio.Forbidden("people come and go by opening and closing the page")
        next()

    people.use(backboneio.middleware.memory_store(per_channel=True))
    return people


def gone(people: Backend, sid: str) -> None:
    """Somebody's page was closed, or has lost the network."""
    for room in ROOMS:
        try:
            people.call("delete", {"id": sid}, channel=room)
        except backboneio.NotFound:  # was in the other room
            pass


def known_room(req: Request, res: Response, next: Next) -> None:
    """Refuse other channels, so that nobody can fill the memory with rooms of their own."""
    if req.channel not in ROOMS:
        raise backboneio.NotFound("there is no such room")
    next()
