"""What the board keeps. Whatever commits a note is in every browser, so the rules are here."""

import secrets
import zlib
from datetime import datetime, timezone

from flask import has_request_context, session
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Enum
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, validates

import backboneio

ROOMS = {"lobby": "Lobby", "workshop": "Workshop"}  # each is a channel
MAX_TEXT, MAX_NAME = 280, 24


class Base(DeclarativeBase): ...


db = SQLAlchemy(model_class=Base)


class Login(Base):
    """A browser is logged in until its row is gone; so is whoever has copied its cookie."""

    __tablename__ = "login"
    id: Mapped[str] = mapped_column(primary_key=True, default=secrets.token_urlsafe)
    name: Mapped[str]


def visitor() -> str | None:
    """The name of whoever is logged in: in views, in layers, and in the columns below."""
    if not has_request_context():
        return "server"  # a shell, a command
    login = db.session.get(Login, session.get("login", ""))
    return login.name if login else None


def hue(name: str | None) -> int:
    return zlib.crc32((name or "").encode()) % 8  # which of the style sheet's colours


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    room: Mapped[str] = mapped_column(Enum(*ROOMS))
    text: Mapped[str]
    done: Mapped[bool] = mapped_column(default=False)
    author: Mapped[str] = mapped_column(default=visitor)
    editor: Mapped[str | None]
    hue: Mapped[int] = mapped_column(default=lambda: hue(visitor()))
    at: Mapped[datetime] = mapped_column(DateTime(True), default=lambda: datetime.now(timezone.utc))
    version: Mapped[int] = mapped_column()  # who saves another one than there is gets a Conflict
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012

    @validates("text")
    def check(self, key: str, text: str) -> str:
        if not text.strip():
            raise backboneio.Invalid("Write something first.")
        if len(text) > MAX_TEXT:
            raise backboneio.Invalid(f"Keep it to {MAX_TEXT} characters, please.")
        if self.id is not None:
            self.editor = visitor()
        return text.strip()
