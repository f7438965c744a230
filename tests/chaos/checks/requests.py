"""What is asked for: handled in order, done once, answered once, and clearly."""

from __future__ import annotations

from ..history import Line
from .hearing import Listening
from .known import Hearing

#: Errors that the run provokes.
EXPECTED = {"NotFound", "Conflict", "Teapot", "InternalError"}


#: After these nobody knows whether the write was made.
UNCERTAIN = {"Timeout", "Unavailable"}


#: Secrets of the inside: in the message of an exception that is not meant for clients.
LEAK = ("leak", "Traceback", 'File "')


class Asking(Listening):
    """Follows each request from its client to its answer."""

    def on_invoke(self, line: Line) -> None:
        client = self.client(line["c"])
        client.invoked[line["token"]] = line
        if line["method"] != "read":
            client.writing[line["channel"], str(line["model"].get("id"))].add(line["token"])

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
        client.settle()
        client.settle_edits(token)
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
        client.told(invoked["channel"], commits[0]["id"], rev, not hearing.asked)

    def on_fail(self, line: Line) -> None:
        client, token, error = self.client(line["c"]), line["token"], line["error"]
        client.settle()
        client.settle_edits(token)
        client.answered.add(token)
        client.refused[token] = line["t"]
        name = error.get("name") if isinstance(error, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        # After it was taken out of a channel, what was on its way is refused. What failed while the
        # database was away is remembered, and told once more when it is asked for later.
        if (
            name not in EXPECTED
            and not (name == "Forbidden" and client.name in self.unwelcome)
            and not (name == "Unavailable" and self.is_away(line, self.invoked.get(token)))
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
            client.settle_edits(line["token"])
        expected = {None, "Forbidden", *EXPECTED, *(("Unavailable",) if self.away else ())}
        if line["error"] not in expected:
            self.fail("errors", line, f"{line['token']} ended with {line['error']}")
