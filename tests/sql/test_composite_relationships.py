"""Relationships over keys of several columns, association classes and inheritance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

import backboneio
from backboneio.middleware import sqlalchemy_store
from backboneio.sql import live as registry
from backboneio.testing import SyncClient

from ..databases import every_database
from .conftest import drain, settle


class Base(orm.DeclarativeBase):
    pass


class Team(Base):
    """One whose key has two columns."""

    __tablename__ = "team"

    country: orm.Mapped[str] = orm.mapped_column(sa.String(2), primary_key=True)
    number: orm.Mapped[int] = orm.mapped_column(primary_key=True, autoincrement=False)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), default="")
    memberships: orm.Mapped[list[Membership]] = orm.relationship(
        cascade="all, delete-orphan", back_populates="team", overlaps="members"
    )
    members: orm.Mapped[list[Person]] = orm.relationship(
        secondary="membership", back_populates="teams", overlaps="memberships,team,person"
    )


class Person(Base):
    """The root of a hierarchy with tables of their own."""

    __tablename__ = "person"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    kind: orm.Mapped[str] = orm.mapped_column(sa.String(10))
    teams: orm.Mapped[list[Team]] = orm.relationship(
        secondary="membership", back_populates="members", overlaps="memberships,team,person"
    )
    desks: orm.Mapped[list[Desk]] = orm.relationship(back_populates="person")

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012


class Coach(Person):
    __tablename__ = "coach"

    id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("person.id"), primary_key=True)
    level: orm.Mapped[int] = orm.mapped_column(default=1)

    __mapper_args__ = {"polymorphic_identity": "coach"}  # noqa: RUF012


class Membership(Base):
    """An association class: the table between, with a column of its own."""

    __tablename__ = "membership"

    country: orm.Mapped[str] = orm.mapped_column(sa.String(2), primary_key=True)
    number: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    person_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("person.id"), primary_key=True)
    role: orm.Mapped[str] = orm.mapped_column(sa.String(10), default="")
    team: orm.Mapped[Team] = orm.relationship(back_populates="memberships", overlaps="members")
    person: orm.Mapped[Person] = orm.relationship(overlaps="members,teams")

    __table_args__ = (
        sa.ForeignKeyConstraint(["country", "number"], ["team.country", "team.number"]),
    )
    # Team.members deletes them, too.
    __mapper_args__ = {"confirm_deleted_rows": False}  # noqa: RUF012


class Desk(Base):
    """A hierarchy in one table."""

    __tablename__ = "desk"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    kind: orm.Mapped[str] = orm.mapped_column(sa.String(10))
    person_id: orm.Mapped[int | None] = orm.mapped_column(sa.ForeignKey("person.id"))
    person: orm.Mapped[Person | None] = orm.relationship(back_populates="desks")

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "desk"}  # noqa: RUF012


class StandingDesk(Desk):
    __mapper_args__ = {"polymorphic_identity": "standing"}  # noqa: RUF012


FIELDS = {
    Team: ["name", "memberships", "members"],
    Coach: ["level", "teams", "desks"],
}


class Lab:
    """One backend of teams, one of coaches, each with the relationships of its class."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url)
        self.sessions = orm.sessionmaker(self.engine)
        self.journal = backboneio.SQLJournal(self.engine, metadata=Base.metadata)
        self.app = flask.Flask("teams")
        self.backends = {model.__tablename__: self._backend(model) for model in FIELDS}
        self.app.wsgi_app = backboneio.WSGIApp(  # type: ignore[method-assign]
            self.app, self.backends, journal=self.journal
        )
        Base.metadata.create_all(self.engine)
        with self.sessions() as session:
            session.add_all([Team(country="de", number=1), Team(country="fr", number=2)])
            session.add_all([Coach(id=1), Person(id=2)])
            session.commit()
        self.clients = {name: SyncClient(self.app, name) for name in self.backends}
        self.heard("team"), self.heard("coach")

    def _backend(self, model: Any) -> backboneio.Backend:
        backend = backboneio.create_backend()
        backend.use(sqlalchemy_store(model, self.sessions, fields=FIELDS[model]))
        return backend

    def heard(self, name: str) -> list[Any]:
        """Return what was told of a class since this was called last, as [method, model]."""
        settle(self, name, self.clients[name])  # type: ignore[arg-type]
        return drain(self.clients[name])


@pytest.fixture
def lab(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(registry, "_live", {})
    lab = Lab(database)
    yield lab
    lab.journal.close()
    lab.engine.dispose()


def team(country: str, number: int, *persons: int, name: str = "") -> dict[str, Any]:
    return {
        "id": f"{country},{number}",
        "country": country,
        "number": number,
        "name": name,
        "memberships": [f"{country},{number},{person}" for person in persons],
        "members": list(persons),
    }


def coach(*teams: str, desks: list[int] | None = None) -> dict[str, Any]:
    return {"id": 1, "level": 1, "teams": list(teams), "desks": desks or []}


def join(country: str, number: int, person: int) -> Callable[[orm.Session], None]:
    def change(session: orm.Session) -> None:
        session.add(Membership(country=country, number=number, person_id=person))

    return change


def _commit(lab: Lab, change: Callable[[orm.Session], object]) -> None:
    with lab.sessions() as session:
        change(session)
        session.commit()


@every_database
def test_an_association_class_over_a_key_of_two_columns(lab: Lab) -> None:
    _commit(lab, join("de", 1, 1))
    assert lab.heard("team") == [["update", team("de", 1, 1)]]
    assert lab.heard("coach") == [["update", coach("de,1")]]
    _commit(lab, join("de", 1, 2))
    assert lab.heard("team") == [["update", team("de", 1, 1, 2)]]
    assert lab.heard("coach") == []

    def move(session: orm.Session) -> None:
        session.get_one(Membership, ("de", 1, 1)).country = "fr"
        session.get_one(Membership, ("de", 1, 1)).number = 2

    _commit(lab, move)
    told = lab.heard("team")
    assert sorted(told, key=str) == [
        ["update", team("de", 1, 2)],
        ["update", team("fr", 2, 1)],
    ]
    assert lab.heard("coach") == [["update", coach("fr,2")]]
    _commit(lab, lambda session: session.delete(session.get_one(Membership, ("fr", 2, 1))))
    assert lab.heard("team") == [["update", team("fr", 2)]]
    assert lab.heard("coach") == [["update", coach()]]
    assert lab.clients["team"].sync("read", {"id": "de,1"}) == team("de", 1, 2)


@every_database
def test_over_the_association_table_from_either_end(lab: Lab) -> None:
    with lab.sessions() as session:
        found = session.get_one(Team, ("de", 1))
        found.members.append(session.get_one(Coach, 1))
        session.commit()
    assert lab.heard("team") == [["update", team("de", 1, 1)]]
    assert lab.heard("coach") == [["update", coach("de,1")]]
    with lab.sessions() as session:
        person = session.get_one(Person, 1)
        person.teams.append(session.get_one(Team, ("fr", 2)))
        session.commit()
    assert lab.heard("team") == [["update", team("fr", 2, 1)]]
    assert lab.heard("coach") == [["update", coach("de,1", "fr,2")]]


@every_database
def test_a_related_class_with_descendants(lab: Lab) -> None:
    _commit(lab, lambda session: session.add(StandingDesk(id=7, person_id=1)))
    assert lab.heard("coach") == [["update", coach(desks=[7])]]
    _commit(lab, lambda session: session.add(Desk(id=8, person_id=2)))  # that is no coach
    assert lab.heard("coach") == []

    def exchange(session: orm.Session) -> None:
        session.get_one(Desk, 7).person = session.get_one(Person, 2)
        session.get_one(Desk, 8).person = session.get_one(Person, 1)

    _commit(lab, exchange)
    assert lab.heard("coach") == [["update", coach(desks=[8])]]
    _commit(lab, lambda session: session.delete(session.get_one(Desk, 8)))
    assert lab.heard("coach") == [["update", coach()]]


@every_database
def test_what_takes_its_association_along(lab: Lab) -> None:
    _commit(lab, join("de", 1, 1))
    lab.heard("team"), lab.heard("coach")
    _commit(lab, lambda session: session.delete(session.get_one(Team, ("de", 1))))
    assert lab.heard("team") == [["delete", team("de", 1)]]  # those go before it
    assert lab.heard("coach") == [["update", coach()]]
    lab.clients["team"].sync("delete", {"id": "fr,2"})
    created = lab.clients["team"].sync("create", {"country": "it", "number": 3, "name": "c"})
    assert created == team("it", 3, name="c")


@every_database
def test_more_rows_with_keys_of_two_columns_than_are_read_at_once(lab: Lab) -> None:
    many = 60
    teams = [Team(country="xx", number=number) for number in range(many)]
    _commit(lab, lambda session: session.add_all(teams))
    assert lab.heard("team") == [["create", team("xx", number)] for number in range(many)]
    with lab.sessions() as session:
        for row in session.scalars(sa.select(Team).where(Team.country == "xx")):
            row.name = f"team {row.number}"
        session.commit()
    told = sorted((model["number"], model["name"]) for _, model in lab.heard("team"))
    assert told == [(number, f"team {number}") for number in range(many)]
