"""What has to be so in the end: everybody was told everything, in the order of commits."""

from __future__ import annotations

from ..history import Line
from ..sql_app import BULK
from .known import Write, resets
from .requests import Asking

#: Tokens of commits that nobody is told of.
UNTOLD = ("seed-", BULK)


class Ending(Asking):
    """Looks back from the end of a run."""

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
