"""An application on a database, for tests in this process and for servers and scripts.

As a script it serves nobody: ``python -m tests.sql.app PYTHON`` runs a statement with ``session``
and ``Task``, and commits.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import flask
import sqlalchemy as sa
from sqlalchemy import orm

import backboneio
from backboneio.middleware import sqlalchemy_store


class Base(orm.DeclarativeBase):
    pass


class Project(Base):
    __tablename__ = "project"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    tasks: orm.Mapped[list[Task]] = orm.relationship(cascade="all, delete-orphan")


class Task(Base):
    __tablename__ = "task"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str] = orm.mapped_column(sa.String(100))
    n: orm.Mapped[int] = orm.mapped_column(default=0)
    room: orm.Mapped[str | None] = orm.mapped_column(sa.String(20))
    project_id: orm.Mapped[int | None] = orm.mapped_column(sa.ForeignKey("project.id"))


class Card(Base):
    """On a channel for each room."""

    __tablename__ = "card"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str] = orm.mapped_column(sa.String(100), unique=True)
    room: orm.Mapped[str | None] = orm.mapped_column(sa.String(20))


class Lab:
    """The application, with the backends ``tasks`` and ``cards``.

    :ivar app: the Flask application.
    """

    def __init__(self, url: str, **limits: Any) -> None:
        self.engine = sa.create_engine(url, pool_size=20)
        self.sessions = orm.sessionmaker(self.engine)
        self.journal = backboneio.SQLJournal(
            self.engine, limits=backboneio.Limits(**limits), metadata=Base.metadata
        )
        self.tasks = backboneio.create_backend()
        self.tasks.use(sqlalchemy_store(Task, self.sessions))
        self.cards = backboneio.create_backend()
        self.cards.use(sqlalchemy_store(Card, self.sessions, channel=lambda card: card.room))
        self.app = flask.Flask("lab")
        self.served = backboneio.WSGIApp(
            self.app, {"tasks": self.tasks, "cards": self.cards}, journal=self.journal
        )
        self.app.wsgi_app = self.served  # type: ignore[method-assign]

        @self.app.post("/tasks")
        def create() -> dict[str, Any]:
            with self.sessions() as session:
                task = Task(**flask.request.get_json())
                session.add(task)
                session.commit()
                return {"id": task.id, "pid": os.getpid()}

    def create_tables(self) -> None:
        Base.metadata.create_all(self.engine)
        self.journal.create_tables()

    def close(self) -> None:
        self.journal.close()
        self.engine.dispose()


def create_app() -> flask.Flask:
    return Lab(os.environ["DATABASE_URL"]).app


if __name__ == "__main__":
    lab = Lab(os.environ["DATABASE_URL"])
    with lab.sessions() as session:
        exec(sys.argv[1])
        session.commit()
