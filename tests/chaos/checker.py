"""Reads the history of a run and names the first step that broke a guarantee.

What it checks, by the name that a violation carries:

``errors``         every error was clear: a known name, a message, nothing from inside
``answered``       every request was answered, once
``once``           an acknowledged write is in the store's commits exactly once, a refused one never
``answer``         an acknowledged write was told what was committed
``order-in``       one client's requests were handled in the order it made them
``order-out``      the revs of a model's changes have the order of its commits
``one-meaning``    a rev means the same change to everybody
``rev-order``      nobody was told revs out of order or twice on a channel, acks included
``resume``         what was missed lies between the rev resumed from and the rev of the answer
``delivery``       everybody was told every change of the channels he hears
``isolation``      nobody was told of a channel he did not ask for or was taken out of
``kicked``         who was thrown out heard nothing that came later, and nothing it asked was done
``identity``       no two models became one: everybody knows a change as one of the same model
``stale-read``     a read shows everything up to its rev
``old-over-new``   no collection showed an older version after a newer one was known
``whole``          an attribute that a whole update left out is gone
``own-edit``       nothing overwrote an attribute that the page had changed and had no answer to
``undone``         nobody was told of what was not committed, or was rolled back
``journal``        the database's journal has the commits of each model, in their order, once
``restart``        nobody was told to fetch anew, but for a reset between what he knew and now
``converged``      in the end every collection equals the store
``server``         no thread died and nothing failed in the server but what was made to fail
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict, deque
from dataclasses import dataclass, field

from .history import Line, read
from .sql_app import BULK, FLUSHES

#: Errors that the run provokes.
EXPECTED = {"NotFound", "Conflict", "Teapot", "InternalError"}
#: After these nobody knows whether the write was made.
UNCERTAIN = {"Timeout", "Unavailable"}
#: Tokens of commits that nobody is told of.
UNTOLD = ("seed-", BULK)
#: Nanoseconds in which requests fail after the database was stopped, and until they fail no more
#: once it was started.
AWAY = 3_000_000_000
#: Secrets of the inside: in the message of an exception that is not meant for clients.
LEAK = ("leak", "Traceback", 'File "')


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


class Checker:
    """Goes through the lines of a history; :meth:`check` returns the violations in time order."""

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

    def check(self) -> list[Violation]:
        self.learn()
        for line in self.lines:
            # What nobody provides for, a crash of a client say, has no method here.
            step = getattr(self, "on_" + line["kind"].replace("-", "_"), None)
            if step is None:
                self.fail("server", line, f"{line['c']}: {line['kind']} {line}")
            else:
                step(line)
        self.at_the_end()
        self.violations.sort(key=lambda violation: violation.line["t"])
        return self.violations

    def fail(self, check: str, line: Line, text: str) -> None:
        self.violations.append(Violation(check, line, text))

    def client(self, name: str) -> Client:
        return self.clients.setdefault(name, Client(name))

    # First: which rev each write got, from whoever was told.

    def learn(self) -> None:
        self.learn_of_database()
        places: dict[str, int] = defaultdict(int)
        out: set[str] = set()
        for line in self.lines:
            kind = line["kind"]
            if kind == "invoke":
                self.invoked[line["token"]] = line
                self.order[line["token"]] = places[line["c"]]
                places[line["c"]] += 1
            elif kind == "taking-out":
                out.add(line["client"])
            elif kind == "refused" and self.is_away(line):
                out.add(line["c"])
            elif kind == "commit":
                self.learn_commit(line)
            elif kind == "store":
                self.stores[line["channel"]] = line
            elif kind == "event":
                self.mean(line, line["rev"], line["id"], line["by"])
            elif kind == "listened":
                for _, model_id, by, rev in line["missed"]:
                    self.mean(line, rev, model_id, by)
            elif kind == "ok" and "model" in line and line["rev"] is not None:
                model = line["model"]
                self.mean(line, line["rev"], str(model["id"]), model.get("by"))
        self.unwelcome = out
        if self.journal:
            self.compare_journal()

    def learn_commit(self, line: Line) -> None:
        write = self.write(line["token"])
        self.ids.add(line["id"])
        if write.commits and line["token"].startswith(FLUSHES):  # one transaction
            if line["method"] == "delete":
                write.commits.clear()
                for channel in line["channels"]:
                    self.changes[channel, line["id"]].remove(write)
            else:
                write.commits[0]["model"] = line["model"]
            return
        write.commits.append(line)
        write.after = self.newest
        for channel in line["channels"]:
            self.changes[channel, line["id"]].append(write)

    def learn_of_database(self) -> None:
        for line in self.lines:
            if line["kind"] == "journal":
                if line["rev"] is None or line["rev"] in self.journal:
                    self.fail("journal", line, f"a change has the rev {line['rev']}: {line}")
                else:
                    self.journal[line["rev"]] = line
                    self.meaning[line["rev"]] = (str(line["id"]), line["by"])
            elif line["kind"] == "database":
                if line["state"] == "stopped":
                    self.away.append((line["t"], 2**63))
                elif line["state"] == "there":
                    self.away[-1] = (self.away[-1][0], line["t"])

    def compare_journal(self) -> None:
        """Give every commit the rev that its place in the journal says."""
        end = self.lines[-1]
        revs = sorted(self.journal)
        if revs != list(range(1, len(revs) + 1)):
            self.fail("journal", end, f"the journal has gaps: {len(revs)} revs up to {revs[-1]}")
        told: dict[tuple[str | None, str], list[Line]] = defaultdict(list)
        for rev in revs:
            line = self.journal[rev]
            if line["method"] != "reset":
                told[line["channels"][0], line["id"]].append(line)
        for key in {*told, *self.changes}:
            writes = [w for w in self.changes[key] if not w.token.startswith(BULK)]
            changes = told[key]
            for number in range(max(len(writes), len(changes))):
                write = writes[number] if number < len(writes) else None
                change = changes[number] if number < len(changes) else None
                if write is None or change is None or not same(write.commits[0], change):
                    self.fail(
                        "journal",
                        change or write.commits[0],  # type: ignore[union-attr]
                        f"change {number + 1} of model {key[1]} on channel {key[0]} is "
                        f"{write and write.commits[0]} among the commits, {change} in the journal",
                    )
                    break
                write.rev = change["rev"]

    def write(self, token: str) -> Write:
        return self.writes.setdefault(token, Write(token))

    def mean(self, line: Line, rev: int, model_id: str, by: str | None) -> None:
        model_id = str(model_id)
        self.newest = max(self.newest, rev)
        before = self.meaning.setdefault(rev, (model_id, by))
        if before != (model_id, by):
            self.fail(
                "one-meaning",
                line,
                f"rev {rev} is {by} of model {model_id} to {line['c']}, "
                f"and {before[1]} of model {before[0]} to others",
            )
        elif by is not None and not self.journal:
            write = self.write(by)
            if write.rev not in (0, rev):
                self.fail("once", line, f"{by} was announced twice, as rev {write.rev} and {rev}")
            write.rev = rev

    # Requests

    def on_invoke(self, line: Line) -> None:
        client = self.client(line["c"])
        client.invoked[line["token"]] = line
        if line["method"] != "read":
            client.writing[line["channel"], str(line["model"].get("id"))].add(line["token"])

    def on_edit(self, line: Line) -> None:
        client = self.client(line["c"])
        edits = client.edits[line["channel"], line["id"], line["name"]]
        edits.append((line["token"], line["value"]))

    def settle_edits(self, client: Client, token: str) -> None:
        """An answer has come: it is one to what the page changed before, too."""
        for edits in client.edits.values():
            tokens = [edit[0] for edit in edits]
            if token in tokens:
                del edits[: tokens.index(token) + 1]

    def settle_refused(self, client: Client, line: Line) -> None:
        """A list has come: from here on nothing shows what was refused before it was asked for."""
        invoked, asked = self.invoked.get(line["token"]), client.asked_at.get(line["token"])
        if invoked is None or asked is None or not line["whole"]:
            return
        for (channel, _), tokens in client.writing.items():
            if channel == invoked["channel"]:
                tokens -= {token for token in tokens if client.refused.get(token, asked) < asked}

    def on_sent(self, line: Line) -> None:
        client = self.client(line["c"])
        client.sent.setdefault(line["token"], []).append(line["conn"])
        client.asked_at.setdefault(line["token"], line["t"])

    def on_handled(self, line: Line) -> None:
        # The server may be quicker than the client's own note, so this goes by the whole history.
        self.check_admitted(line)
        order = self.order.get(line["token"])
        if order is None or line["token"] in self.handled:
            return
        self.handled.add(line["token"])
        client = self.client(self.invoked[line["token"]]["c"])
        # A request that was refused for want of a channel, and whose refusal was lost, may be
        # handled when it is sent again: after those that came later and were not refused.
        # So may one that another process could not do while the database was away.
        lost = bool(self.away) and len(client.sent.get(line["token"], ())) > 1
        if order < client.handled and client.name not in self.unwelcome and not lost:
            self.fail(
                "order-in",
                line,
                f"{line['token']} of {client.name} was handled after a later request",
            )
        client.handled = max(client.handled, order)

    def check_admitted(self, line: Line) -> None:
        """Look for a request that was done after its client was thrown out, or taken out."""
        invoked, token, conn = self.invoked.get(line["token"]), line["token"], line.get("conn")
        if invoked is None or conn is None:
            return
        client, channel = self.client(invoked["c"]), invoked["channel"]
        if line["t"] > self.refused.get((client.name, conn), line["t"]):
            self.fail(
                "kicked",
                line,
                f"{token} was done for connection {conn} of {client.name}, "
                f"which had been thrown out",
            )
        hearing = client.channels.get(channel)
        left = hearing is not None and hearing.left and conn == client.conn
        if left and invoked["method"] != "read":
            self.fail(
                "isolation",
                line,
                f"{token} was done on channel {channel}, which {client.name} was taken out of",
            )

    def on_ok(self, line: Line) -> None:
        client, token = self.client(line["c"]), line["token"]
        self.settle(client)
        self.settle_edits(client, token)
        for tokens in client.writing.values():
            tokens.discard(token)
        client.answered.add(token)
        if "rows" in line:
            self.check_rows(client, line)
            self.settle_refused(client, line)
            return
        commits = self.write(token).commits
        if len(commits) != 1:
            what = [f"{c['method']} (seq {c['seq']})" for c in commits] or "nothing"
            self.fail("once", line, f"{token} was acknowledged; the store has committed {what}")
            return
        if line["model"] != commits[0]["model"]:
            self.fail(
                "answer",
                line,
                f"{token} was told {line['model']}, committed was {commits[0]['model']}",
            )
        rev = line["rev"]
        if rev is None:
            return
        if self.journal and rev != self.write(token).rev:
            self.fail(
                "journal",
                line,
                f"{token} was acknowledged as rev {rev}; it is rev {self.write(token).rev}",
            )
        invoked = self.invoked[token]
        resent = len(client.sent.get(token, ())) > 1
        hearing = client.channels.setdefault(invoked["channel"], Hearing())
        # With a database a change is told as anybody's when its request takes too long to end.
        late = bool(self.journal) and rev in hearing.told
        if rev <= hearing.last and not (hearing.asked or resent or late):
            self.fail(
                "rev-order",
                line,
                f"{client.name} got the ack of {token} with rev {rev} after rev {hearing.last}",
            )
        # While a listen is under way an ack may come before what is older.
        self.told(client, invoked["channel"], commits[0]["id"], rev, not hearing.asked)

    def on_fail(self, line: Line) -> None:
        client, token, error = self.client(line["c"]), line["token"], line["error"]
        self.settle(client)
        self.settle_edits(client, token)
        client.answered.add(token)
        client.refused[token] = line["t"]
        name = error.get("name") if isinstance(error, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        # After it was taken out of a channel, what was on its way is refused.
        if (
            name not in EXPECTED
            and not (name == "Forbidden" and client.name in self.unwelcome)
            and not (name == "Unavailable" and self.is_away(line))
        ):
            self.fail("errors", line, f"{token} failed with {error}, which nothing provoked")
        elif not isinstance(message, str) or not message:
            self.fail("errors", line, f"{token} failed with {name} and no message")
        if any(text in str(error) for text in LEAK):
            self.fail("errors", line, f"{token} was told what nobody outside may know: {error}")
        commits = self.write(token).commits
        lost = name == "Forbidden" and client.name in self.unwelcome and len(client.sent[token]) > 1
        if commits and name not in UNCERTAIN and not lost:
            self.fail("once", line, f"{token} was refused ({name}), and committed all the same")

    def on_done(self, line: Line) -> None:
        client = self.client(line["c"])
        client.done[line["token"]] += 1
        if client.done[line["token"]] > 1:
            self.fail("answered", line, f"{line['token']}: the application was told twice")
        if line["error"] is not None:  # refused by the page itself, maybe: it was never sent
            self.settle_edits(client, line["token"])
        expected = {None, "Forbidden", *EXPECTED, *(("Unavailable",) if self.away else ())}
        if line["error"] not in expected:
            self.fail("errors", line, f"{line['token']} ended with {line['error']}")

    def is_away(self, line: Line) -> bool:
        """Whether the database was away about when a line was written."""
        return any(start <= line["t"] <= end + AWAY for start, end in self.away)

    # Hearing

    def on_connect(self, line: Line) -> None:
        client = self.client(line["c"])
        client.conn = line["conn"]
        for hearing in client.channels.values():
            hearing.joined = hearing.out = False
            hearing.left = 0
            hearing.asked.clear()

    def on_leave(self, line: Line) -> None:
        client = self.client(line["c"])
        client.channels.setdefault(line["channel"], Hearing()).joined = False

    def on_taken_out(self, line: Line) -> None:
        client = self.client(line["c"])
        hearing = client.channels[line["channel"]]
        hearing.joined, hearing.out = False, True

    def on_left(self, line: Line) -> None:
        client = self.client(line["client"])
        hearing = client.channels.setdefault(line["channel"], Hearing())
        # A listen that is under way may let it in again already.
        if line["conn"] == client.conn and not hearing.asked:
            hearing.left = line["t"]

    def on_kicked(self, line: Line) -> None:
        key, begins = (line["client"], line["conn"]), line["t"] + line.get("grace", 0) * 1e9
        self.kicked.setdefault(key, line["t"])
        self.refused[key] = min(begins, self.refused.get(key, begins))

    def on_listen(self, line: Line) -> None:
        client = self.client(line["c"])
        hearing = client.channels.setdefault(line["channel"], Hearing())
        hearing.joined, hearing.left = False, 0
        hearing.asked.append(None if line["since"] is None else line["since"]["rev"])

    def on_listened(self, line: Line) -> None:
        client, rev = self.client(line["c"]), line["rev"]
        self.settle(client)
        hearing = client.channels.setdefault(line["channel"], Hearing())
        since = hearing.asked.popleft() if hearing.asked else None
        hearing.joined, hearing.out = True, False
        where = f"{client.name} on channel {line['channel']}"
        if since is None or line["reset"]:
            if hearing.started:
                self.check_restart(line, since, rev)
                hearing.skipped.append((min(since or 0, hearing.last), rev))
            else:
                hearing.skipped.append((0, rev))
            hearing.started = True
            hearing.last = rev
            return
        hearing.resumed = since
        if rev < since:
            self.fail("resume", line, f"{where} resumed from {since} and came to {rev}")
        before = since
        for _, model_id, _, missed in line["missed"]:
            if not before < missed <= rev:
                self.fail(
                    "resume",
                    line,
                    f"{where} was replayed rev {missed} after {before}, up to {rev}",
                )
            before = max(before, missed)
            hearing.told.add(missed)
            client.replayed.append((line["channel"], model_id, missed))
        hearing.last = max(hearing.last, rev)

    def check_restart(self, line: Line, since: int | None, rev: int) -> None:
        """See why a client has to fetch anew: with the journal in a database, for a reset alone."""
        if not self.journal:
            return
        if since is None or not any(
            resets(self.journal[one], line["channel"]) for one in range(since + 1, rev + 1)
        ):
            self.fail(
                "restart",
                line,
                f"{line['c']} on channel {line['channel']} was told to fetch anew after rev {since}"
                f", at rev {rev}",
            )

    def on_refused(self, line: Line) -> None:
        client = self.client(line["c"])
        asked = client.channels[line["channel"]].asked
        if asked:
            asked.popleft()
        for (channel, _, _), edits in client.edits.items():
            if channel == line["channel"]:
                edits.clear()  # what it has not sent fails with it
        # It may have left again, or have been taken out again, while the answer was on its way.
        away = line["error"].get("name") == "Unavailable" and self.is_away(line)
        if not asked and line["c"] not in self.unwelcome and not away:
            self.fail("errors", line, f"{line['c']} was refused channel {line['channel']}")

    def on_event(self, line: Line) -> None:
        client, rev, channel = self.client(line["c"]), line["rev"], line["channel"]
        self.settle(client)
        if line["id"] is not None:
            self.check_id(client, line, line["id"])
        self.check_heard(client, line)
        if channel != "*" and (channel not in client.channels or client.channels[channel].out):
            self.fail("isolation", line, f"{client.name} was told rev {rev} of channel {channel!r}")
            return
        for name in list(client.channels) if channel == "*" else [channel]:
            hearing = client.channels[name]
            if not hearing.joined:
                continue  # comes again with the answer to listen
            if self.journal and rev <= hearing.resumed:
                continue  # which is known by its rev
            if rev <= hearing.last:
                self.fail(
                    "rev-order",
                    line,
                    f"{client.name} was told rev {rev} on channel {name} after rev {hearing.last}",
                )
            self.told(client, name, line["id"], rev, True)

    def check_id(self, client: Client, line: Line, model_id: str) -> None:
        """Look for an id, or a change, that somebody takes for another model's."""
        if model_id not in self.ids:
            self.fail("identity", line, f"{client.name} has a model {model_id}, which never was")
            return
        commits = self.write(line["by"]).commits if line["by"] else []
        if self.journal and not commits and line["by"] and line["by"] not in client.invoked:
            self.fail("undone", line, f"{client.name} has {line['by']}, which was never committed")
        if commits and commits[0]["id"] != model_id:
            self.fail(
                "identity",
                line,
                f"{client.name} has {line['by']} as a version of model {model_id}; "
                f"it was one of model {commits[0]['id']}",
            )

    def check_heard(self, client: Client, line: Line) -> None:
        """Look for a change that was made after who hears it was thrown out, or taken out."""
        commits = self.write(line["by"]).commits if line["by"] else []
        if not commits:
            return
        made, channel = commits[0]["t"], line["channel"]
        if made > self.kicked.get((client.name, client.conn), made):
            self.fail(
                "kicked",
                line,
                f"{client.name} was told rev {line['rev']} ({line['by']}) on connection "
                f"{client.conn}, which had been thrown out before it was made",
            )
        hearing = client.channels.get(channel)
        if hearing is not None and hearing.left and made > hearing.left:
            self.fail(
                "isolation",
                line,
                f"{client.name} was told rev {line['rev']} of channel {channel}, "
                f"which it had been taken out of before that was made",
            )

    def told(
        self, client: Client, channel: str | None, model_id: str, rev: int, in_order: bool
    ) -> None:
        hearing = client.channels.setdefault(channel, Hearing())
        hearing.told.add(rev)
        if in_order:
            hearing.last = max(hearing.last, rev)
        key = (channel, model_id)
        client.known[key] = max(client.known.get(key, 0), rev)

    def settle(self, client: Client) -> None:
        """Take what was replayed as known: its application is over."""
        for channel, model_id, rev in client.replayed:
            key = (channel, model_id)
            client.known[key] = max(client.known.get(key, 0), rev)
        client.replayed.clear()

    # Reads and collections

    def check_rows(self, client: Client, line: Line) -> None:
        """Look for a model that the rows show as it was before their rev."""
        invoked = self.invoked.get(line["token"])
        if invoked is None or not line["whole"]:
            return
        rows = dict(map(tuple, line["rows"]))
        for (channel, model_id), writes in self.changes.items():
            if channel != invoked["channel"]:
                continue
            due = [write for write in writes if 0 < write.rev <= line["rev"]]
            if not due:
                continue
            last = due[-1]
            later = writes[writes.index(last) :]
            right = {write.token for write in later}
            may_lack = any(write.commits[0]["method"] == "delete" for write in later)
            if model_id in rows and rows[model_id] not in right:
                shows = f"model {model_id} by {rows[model_id]}"
            elif model_id not in rows and not may_lack:
                shows = f"no model {model_id}"
            else:
                continue
            self.fail(
                "stale-read",
                line,
                f"{line['token']} shows {shows} as of rev {line['rev']}; "
                f"rev {last.rev} was {last.token}",
            )

    def on_view(self, line: Line) -> None:
        client, by = self.client(line["c"]), line["by"]
        if line["id"] is not None:
            self.check_id(client, line, line["id"])
            self.check_edits(client, line)
            self.check_whole(client, line)
        write = self.writes.get(by) if by is not None else None
        if write is None or not write.rev:
            return  # set in advance and then refused, or told to nobody
        if by in client.invoked:
            # Set in advance; or made in advance, and given its id on its way out.
            if by not in client.answered or client.invoked[by]["method"] == "create":
                return
        known = client.known.get((line["channel"], line["id"]), 0)
        if write.rev < known:
            self.fail(
                "old-over-new",
                line,
                f"{client.name} on channel {line['channel']} shows model {line['id']} by {by} "
                f"(rev {write.rev}), and knew rev {known} ({self.meaning[known][1]})",
            )

    def check_edits(self, client: Client, line: Line) -> None:
        """Look for an attribute that is not what the page itself has made of it last."""
        for (channel, model_id, name), edits in client.edits.items():
            if (channel, model_id) != (line["channel"], line["id"]) or not edits:
                continue
            token, value = edits[-1]
            if line["by"] is None:
                edits.clear()  # the model is gone
            elif line["model"].get(name) != value:
                self.fail(
                    "own-edit",
                    line,
                    f"{client.name} on channel {channel} shows {name} of model {model_id} as "
                    f"{line['model'].get(name)!r}; it had set {value!r} itself ({token}), "
                    f"and has no answer yet",
                )

    def check_whole(self, client: Client, line: Line) -> None:
        """Look for attributes that the version shown had not, or had otherwise."""
        commits = self.write(line["by"]).commits if line["by"] else []
        if not commits or client.writing[line["channel"], line["id"]]:
            return
        shown, right = line["model"], commits[0]["model"]
        for name in sorted({*shown, *right}):
            if shown.get(name, "nothing") != right.get(name, "nothing"):
                self.fail(
                    "whole",
                    line,
                    f"{client.name} on channel {line['channel']} shows attribute {name} of model "
                    f"{line['id']} as {shown.get(name, 'nothing')!r}; in {line['by']} it is "
                    f"{right.get(name, 'nothing')!r}",
                )
                return

    def on_final(self, line: Line) -> None:
        self.finals.add((line["c"], line["channel"]))
        store = self.stores.get(line["channel"])
        if store is None:
            return
        shown, models = line["models"], store["models"]
        for model_id in [*models, *(key for key in shown if key not in models)]:
            if shown.get(model_id) != models.get(model_id):
                known = self.client(line["c"]).known.get((line["channel"], model_id))
                self.fail(
                    "converged",
                    line,
                    f"{line['c']} on channel {line['channel']} ends with model {model_id} as "
                    f"{shown.get(model_id)}, the store with {models.get(model_id)}; "
                    f"the last rev it was told of the model is {known}",
                )

    # The server

    def on_log(self, line: Line) -> None:
        text = f"{line['message']} {line['traceback'] or ''}"
        ours = line["logger"].startswith(("backboneio", "tests")) and line["level"] != "WARNING"
        # What is torn may well make the WSGI server complain, and the WebSockets of the transport
        # "threads" fail.
        theirs = "/backboneio/" not in text or "/simple_websocket/" in text
        if "leak:" in text or (theirs and not ours):
            return
        # What says that the database is away, and the application's own view that meets it.
        away = "is not available" in line["message"] or "/view/" in line["message"]
        if away and self.is_away(line):
            return
        last = (line["traceback"] or "").strip().rpartition("\n")[2]
        self.fail("server", line, f"{line['logger']} logged {line['message']!r}: {last}")

    def on_commit(self, line: Line) -> None:
        writes = self.write(line["token"])
        if len(writes.commits) > 1 and line is not writes.commits[0]:
            self.fail("once", line, f"{line['token']} was committed {len(writes.commits)} times")

    def on_store(self, line: Line) -> None:
        pass

    on_fault = on_taking_out = on_journal = on_database = on_store

    # At the end

    def at_the_end(self) -> None:
        if not self.lines:
            return
        end = self.lines[-1]
        for name, client in self.clients.items():
            for token, line in client.invoked.items():
                if not client.done.get(token):
                    self.fail("answered", line, f"{token} of {name} was never answered")
        for (channel, model_id), writes in self.changes.items():
            before: Write | None = None
            for write in writes:
                if not write.rev or len(write.commits) > 1:
                    continue
                if before is not None and write.rev < before.rev:
                    self.fail(
                        "order-out",
                        write.commits[0],
                        f"model {model_id} on channel {channel}: {before.token} was committed "
                        f"before {write.token}, and announced after it "
                        f"(rev {before.rev}, rev {write.rev})",
                    )
                before = write
        if not self.stores:
            self.fail("converged", end, "the run did not come to its end")
            return
        self.check_delivery(end)
        self.check_resets()

    def check_resets(self) -> None:
        for rev, line in self.journal.items():
            for name, client in self.clients.items():
                for channel, hearing in client.channels.items():
                    if not resets(line, channel):
                        continue
                    told = rev in hearing.told or hearing.has_skipped(rev)
                    if hearing.started and not told:
                        self.fail(
                            "delivery",
                            line,
                            f"{name} was never told of the reset {rev} on {channel}",
                        )

    def check_delivery(self, end: Line) -> None:
        for name, client in self.clients.items():
            for channel in client.channels:
                if (name, channel) not in self.finals:
                    self.fail("converged", end, f"{name} did not come to the end on {channel}")
        for (channel, model_id), writes in self.changes.items():
            for write in writes:
                commit = write.commits[0]
                if len(write.commits) > 1:
                    continue  # bad enough, and it has no rev of its own
                if not write.rev:
                    untold = commit["token"].startswith(UNTOLD)
                    if not untold and not self.may_be_skipped(channel, write, writes):
                        self.fail("delivery", commit, f"{write.token} was told to nobody")
                    continue
                for name, client in self.clients.items():
                    hearing = client.channels.get(channel)
                    if hearing is None or not hearing.started or write.rev in hearing.told:
                        continue
                    if not hearing.has_skipped(write.rev):
                        self.fail(
                            "delivery",
                            commit,
                            f"{name} was never told rev {write.rev} on channel {channel}: "
                            f"{write.token}, {commit['method']} of model {model_id}",
                        )

    def may_be_skipped(self, channel: str | None, write: Write, writes: list[Write]) -> bool:
        """Whether everybody may have fetched instead of being told a write, whose rev none knows.

        That is one nobody was told, above all that anybody had been told as it was committed, and
        below those of the later writes of its model, which have the order of their commits.
        """
        later = writes[writes.index(write) + 1 :]
        before = min((one.rev for one in later if one.rev), default=self.newest)
        hearings = [
            client.channels[channel]
            for client in self.clients.values()
            if channel in client.channels
        ]
        return any(
            rev not in self.meaning and all(hearing.has_skipped(rev) for hearing in hearings)
            for rev in range(write.after + 1, before)
        )


def resets(change: Line, channel: str | None) -> bool:
    """Whether a change in the journal tells a channel's clients to fetch anew."""
    told = change["channels"]
    return change["method"] == "reset" and (told is None or channel in told)


def same(commit: Line, change: Line) -> bool:
    """Whether a change in the journal is a commit; what is deleted, or moves, may be as it was."""
    if commit["method"] != change["method"] or commit["id"] != change["id"]:
        return False
    return bool(commit["method"] == "delete" or commit["model"] == change["model"])


def report(violations: list[Violation], lines: list[Line], most: int = 12) -> str:
    """Return what went wrong first, what came before it, and how much more there is."""
    first = violations[0]
    subject = {first.line.get("token"), first.line.get("id"), first.line.get("by")} - {None}
    about = [
        line
        for line in lines
        if line["t"] <= first.line["t"]
        and line is not first.line
        and (line.get("client") == first.line["c"] or line["c"] in (first.line["c"], "server"))
        and subject & {line.get("token"), line.get("id"), line.get("by")}
    ]
    counts: dict[str, int] = defaultdict(int)
    for violation in violations:
        counts[violation.check] += 1
    start = lines[0]["t"]

    def show(line: Line) -> str:
        rest = {key: value for key, value in line.items() if key not in ("t", "c", "kind")}
        text = f"  {(line['t'] - start) / 1e9:9.4f} {line['c']:>7} {line['kind']:9} {rest}"
        return text if len(text) < 400 else text[:400] + "..."

    return "\n".join(
        [
            f"the first bad step: {first}",
            show(first.line),
            *(["what led to it:"] if about else []),
            *(show(line) for line in about[-most:]),
            "all violations: " + ", ".join(f"{name} {count}" for name, count in counts.items()),
            *(f"  {violation}" for violation in violations[1:6]),
        ]
    )


def main() -> int:
    """Check a recorded history."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("directory", help="where the run wrote its history")
    lines = read(parser.parse_args().directory)
    violations = Checker(lines).check()
    print(report(violations, lines) if violations else "nothing is wrong")  # noqa: T201
    return bool(violations)


if __name__ == "__main__":
    sys.exit(main())
