"""What is heard: on which channels, from when on, in which order, and by whom not."""

from __future__ import annotations

from ..history import Line
from .known import Client, Hearing, resets
from .showing import Showing


class Listening(Showing):
    """Follows who hears which channel, and looks at everything that they are told."""

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
        client.settle()
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
        client.settle()
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
            client.told(name, line["id"], rev, True)

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
