"""The suites that every journal, memory of answers, and store has to pass."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

import backboneio
from backboneio.limits import Limits
from backboneio.middleware import sqlalchemy_store
from backboneio.sql import SQLLog
from backboneio.sql import live as registry
from backboneio.sql.answers import SQLAnswers
from backboneio.testing.answers_suite import AnswersSuite, SharedAnswersSuite
from backboneio.testing.journal_suite import SharedJournalSuite

from ..databases import every_database
from .app import Task

numbers = itertools.count()


class OnDatabase:
    """Makes journals on a database of the test's own."""

    @pytest.fixture(autouse=True)
    def on_database(self, database: str) -> Iterator[None]:
        self.database = database
        self.made: list[tuple[backboneio.SQLJournal, sa.Engine]] = []
        yield
        for journal, engine in self.made:
            journal.close()
            engine.dispose()

    def journal(self, limits: Limits | None = None) -> backboneio.SQLJournal:
        engine = sa.create_engine(self.database)
        journal = backboneio.SQLJournal(engine, limits=limits)
        journal.create_tables()
        self.made.append((journal, engine))
        return journal


@every_database
class TestSQLJournal(OnDatabase, SharedJournalSuite):
    def make(self) -> SQLLog:
        return self.journal()(f"backend-{next(numbers)}")

    def share(self, journal: SQLLog) -> SQLLog:  # type: ignore[override]
        other = self.journal()(journal.name)
        assert other.begun >= 0  # a process begins when it is asked first
        return other


@every_database
class TestSQLAnswers(OnDatabase, AnswersSuite):
    def make(self, limits: Limits) -> SQLAnswers:
        return self.journal(limits)(f"backend-{next(numbers)}").answers


@every_database
class TestAnswersOfRecordedChanges(OnDatabase, AnswersSuite, SharedAnswersSuite):
    """Of a backend whose store has its changes recorded, so that answers are written down."""

    @pytest.fixture(autouse=True)
    def record_for_this_test(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry, "_live", registry._live.copy())

    def make(self, limits: Limits) -> SQLAnswers:
        return self.live(f"backend-{next(numbers)}", limits)

    def share(self, answers: SQLAnswers) -> SQLAnswers:  # type: ignore[override]
        return self.live(answers._name, Limits())

    def live(self, name: str, limits: Limits) -> SQLAnswers:
        log = self.journal(limits)(name)
        engine = self.made[-1][1]
        backend = backboneio.create_backend(journal=log)
        backend.use(sqlalchemy_store(Task, orm.sessionmaker(engine)))
        return log.answers
