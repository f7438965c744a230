"""``python -m tests.chaos``: runs with chosen or random seeds, for as long as asked."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time
from collections.abc import Sequence

from .run import DATABASES, Failed, Settings, run
from .sql_run import kind_of

JOURNALS = ("memory", "awkward", *DATABASES)


def kinds_of(
    journals: Sequence[str], servers: Sequence[str], transports: Sequence[str]
) -> list[dict[str, str]]:
    """Return the settings that runs take in turn; a database has several workers of gunicorn."""
    return [
        *(
            {"server": "gthread", "transport": "hub", "journal": journal}
            for journal in journals
            if journal in DATABASES
        ),
        *(
            {"server": server, "transport": transport, "journal": journal}
            for transport in transports
            for server in servers
            for journal in journals
            if journal not in DATABASES
        ),
    ]


def main() -> int:
    """Try to break the guarantees; the exit status is 1 when that worked."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=main.__doc__)
    parser.add_argument("--seed", action="append", default=[], help="may be given several times")
    parser.add_argument("--minutes", type=float, help="random seeds, for so long")
    parser.add_argument("--server", choices=("werkzeug", "gthread"), action="append")
    parser.add_argument("--transport", choices=("hub", "threads"), action="append")
    parser.add_argument("--journal", choices=JOURNALS, action="append")
    parser.add_argument("--requests", type=int, default=Settings.requests, help="of each client")
    parser.add_argument("--faults", type=float, default=Settings.faults_per_second, metavar="RATE")
    parser.add_argument("--keep", help="leave the history in this directory; for one run")
    parser.add_argument("--library", default=Settings.library, help="another backbone.io.js")
    args = parser.parse_args()
    kinds = kinds_of(
        args.journal or ["memory", *DATABASES],
        args.server or ["werkzeug", "gthread"],
        args.transport or ["hub", "threads"],
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the processes of a run end with it
    end = time.monotonic() + 60 * (args.minutes or 0)
    seeds = list(args.seed)
    if not seeds and not args.minutes:
        seeds = [secrets.token_hex(4)]
    failed = count = 0
    while seeds or time.monotonic() < end:
        settings = Settings(
            seeds.pop(0) if seeds else secrets.token_hex(4),
            **kinds[count % len(kinds)],
            requests=args.requests,
            faults_per_second=args.faults,
            library=args.library,
        )
        count += 1
        try:
            done = run(settings, args.keep, kind_of(settings))
            print(settings.server, settings.transport, settings.journal, done, flush=True)  # noqa: T201
        except Failed as failure:
            failed += 1
            print(failure, flush=True)  # noqa: T201
    print(f"{count} runs, {failed} failed")  # noqa: T201
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
