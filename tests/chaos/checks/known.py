"""What is known of a run: its writes, and what each client has asked for and was told."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field

from ..history import Line

#: Nanoseconds in which requests fail after the database was stopped, and until they fail no more
#: once it was started.
AWAY = 3_000_000_000


@dataclass
class Violation:
    check: str
    line: Line
    text: str

    def __str__(self) -> str:
        return f"{self.check}: {self.text}"


@dataclass
class Write:
    """All that is known of one write, by its token."""

    token: str
    commits: list[Line] = field(default_factory=list)
    rev: int = 0
    after: int = 0  # the newest rev that anybody had been told when it was committed


@dataclass
class Hearing:
    """One channel of one client."""

    joined: bool = False
    out: bool = False  # the server took it out
    started: bool = False
    # What was asked for by the listens under way: a rev to resume from, or not.
    asked: deque[int | None] = field(default_factory=deque)
    last: int = 0
    # With a database: up to where this connection's process may repeat what another one has told.
    resumed: int = 0
    told: set[int] = field(default_factory=set)
    # Spans (first, last] of revs that a fetch stands for.
    skipped: list[tuple[int, int]] = field(default_factory=list)
    left: int = 0  # when the server had taken it out, until it asks to be let in again

    def has_skipped(self, rev: int) -> bool:
        """Whether a fetch stands for a change."""
        return any(first < rev <= last for first, last in self.skipped)


@dataclass
class Client:
    name: str
    conn: int = 0
    channels: dict[str | None, Hearing] = field(default_factory=dict)
    invoked: dict[str, Line] = field(default_factory=dict)
    sent: dict[str, list[int]] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    done: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    # The newest rev of each model that the client was told, by (channel, id).
    known: dict[tuple[str | None, str], int] = field(default_factory=dict)
    # What a listen's answer told: known once it was applied.
    replayed: list[tuple[str | None, str, int]] = field(default_factory=list)
    handled: int = -1
    # Own edits without an answer, as (token, value), by (channel, id, attribute).
    edits: dict[tuple[str | None, str, str], list[tuple[str, object]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    # Models that its own writes, not answered or refused, may make look otherwise.
    writing: dict[tuple[str | None, str], set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )
    # When writes were refused, and when requests were sent first.
    refused: dict[str, int] = field(default_factory=dict)
    asked_at: dict[str, int] = field(default_factory=dict)

    def told(self, channel: str | None, model_id: str, rev: int, in_order: bool) -> None:
        """Know a change: it was told live, or with an answer."""
        hearing = self.channels.setdefault(channel, Hearing())
        hearing.told.add(rev)
        if in_order:
            hearing.last = max(hearing.last, rev)
        key = (channel, model_id)
        self.known[key] = max(self.known.get(key, 0), rev)

    def settle(self) -> None:
        """Take what was replayed as known: its application is over."""
        for channel, model_id, rev in self.replayed:
            key = (channel, model_id)
            self.known[key] = max(self.known.get(key, 0), rev)
        self.replayed.clear()

    def settle_edits(self, token: str) -> None:
        """An answer has come: it is one to what the page changed before, too."""
        for edits in self.edits.values():
            tokens = [edit[0] for edit in edits]
            if token in tokens:
                del edits[: tokens.index(token) + 1]


class Known:
    """What a history says; the steps that go through it note it here, and what is wrong."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self.violations: list[Violation] = []
        self.writes: dict[str, Write] = {}
        self.clients: dict[str, Client] = {}
        self.meaning: dict[int, tuple[str, str | None]] = {}
        self.invoked: dict[str, Line] = {}
        self.stores: dict[str | None, Line] = {}
        self.finals: set[tuple[str, str | None]] = set()
        self.handled: set[str] = set()
        # When each connection was thrown out, by (client, number).
        self.kicked: dict[tuple[str, int], int] = {}
        # From when on nothing may begin that it has asked.
        self.refused: dict[tuple[str, int], float] = {}
        # Every model that ever was.
        self.ids: set[str] = set()
        # Clients that were ever taken out of a channel, or not let in while the database was away.
        self.unwelcome: set[str] = set()
        # The place of every request among those of its client.
        self.order: dict[str, int] = {}
        self.newest = 0  # the newest rev that anybody was told, as learn() goes along
        # The changes of each model in the order of commits, by (channel, id).
        self.changes: dict[tuple[str | None, str], list[Write]] = defaultdict(list)
        # The journal of a database, by rev, if there is one.
        self.journal: dict[int, Line] = {}
        # When the database was away: (stopped, there again).
        self.away: list[tuple[int, int]] = []

    def fail(self, check: str, line: Line, text: str) -> None:
        self.violations.append(Violation(check, line, text))

    def client(self, name: str) -> Client:
        return self.clients.setdefault(name, Client(name))

    def write(self, token: str) -> Write:
        return self.writes.setdefault(token, Write(token))

    def is_away(self, line: Line, since: Line | None = None) -> bool:
        """Whether the database was away about when a line was written, or since another was."""
        begin = (since or line)["t"]
        return any(start <= line["t"] and begin <= end + AWAY for start, end in self.away)


def resets(change: Line, channel: str | None) -> bool:
    """Whether a change in the journal tells a channel's clients to fetch anew."""
    told = change["channels"]
    return change["method"] == "reset" and (told is None or channel in told)
