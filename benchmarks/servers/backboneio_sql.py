"""This project around a Flask application whose models are in a database (DATABASE_URL).

JOURNAL=memory: with the journal in memory; else with SQLJournal.
"""

from __future__ import annotations

import os

import control
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm

import backboneio
from backboneio.middleware import sqlalchemy_store


class Base(orm.DeclarativeBase):
    pass


class Message(Base):
    __tablename__ = "message"

    id = orm.mapped_column(sa.Integer, primary_key=True)
    text = orm.mapped_column(sa.String(100), nullable=False)


engine = sa.create_engine(os.environ["DATABASE_URL"], pool_size=12)
sessions = orm.sessionmaker(engine)
journal = backboneio.SQLJournal(engine, metadata=Base.metadata)
in_memory = os.environ.get("JOURNAL") == "memory"
messages = backboneio.create_backend()
messages.use(sqlalchemy_store(Message, sessions))

app = Flask(__name__)


@app.get("/<path:path>")
def page(path: str) -> str:
    """Answer control's paths; a burst is one transaction that changes as many rows."""
    if not path.startswith("emit/"):
        return control.answer(path, lambda: None)
    with sessions() as session:
        rows = session.scalars(sa.select(Message).limit(int(path[5:]))).all()
        for row in rows:
            row.text = "another one !" if row.text == "one !" else "one !"
        session.commit()
        if in_memory:
            for row in rows:
                messages.emit("updated", {"id": row.id, "text": row.text})
    return "hello"


app.wsgi_app = backboneio.WSGIApp(
    app, {"messages": messages}, journal=None if in_memory else journal
)


def create_tables() -> None:
    """Create the tables, with rows for the clients and a burst."""
    Base.metadata.create_all(engine)
    journal.create_tables()
    with sessions() as session:
        session.add_all(Message(text="one !") for _ in range(200))
        session.commit()
