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
from collections import defaultdict

from .checks.ending import Ending
from .checks.known import Violation
from .history import Line, read


class Checker(Ending):
    """Goes through the lines of a history; :meth:`check` returns the violations in time order."""

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

    # The server

    def on_log(self, line: Line) -> None:
        text = f"{line['message']} {line['traceback'] or ''}"
        ours = line["logger"].startswith(("backboneio", "tests")) and line["level"] != "WARNING"
        # What is torn may well make the WSGI server complain, and the WebSockets of the transport
        # "threads" fail.
        theirs = "/backboneio/" not in text or "/simple_websocket/" in text
        if "leak:" in text or (theirs and not ours):
            return
        # What says that the database is away: we, SQLAlchemy's pool, the application's own view.
        away = "is not available" in line["message"] or "/view/" in line["message"]
        away |= line["logger"].startswith("sqlalchemy.pool")
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
