"""First: which rev each write got, from whoever was told, and from the journal of a database."""

from __future__ import annotations

from collections import defaultdict

from ..history import Line
from ..sql_app import BULK, FLUSHES
from .known import Known


class Learning(Known):
    """Learns it from all lines, before any is looked at."""

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


def same(commit: Line, change: Line) -> bool:
    """Whether a change in the journal is a commit; what is deleted, or moves, may be as it was."""
    if commit["method"] != change["method"] or commit["id"] != change["id"]:
        return False
    return bool(commit["method"] == "delete" or commit["model"] == change["model"])
