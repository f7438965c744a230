"""``python -m tests.chaos``: runs with chosen or random seeds, for as long as asked."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time

from .run import Failed, Settings, run


def main() -> int:
    """Try to break the guarantees; the exit status is 1 when that worked."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=main.__doc__)
    parser.add_argument("--seed", action="append", default=[], help="may be given several times")
    parser.add_argument("--minutes", type=float, help="random seeds, for so long")
    parser.add_argument("--server", choices=("werkzeug", "gthread"), action="append")
    parser.add_argument("--transport", choices=("hub", "threads"), action="append")
    parser.add_argument("--journal", choices=("memory", "awkward"), default=Settings.journal)
    parser.add_argument("--edits", action="store_true", help="pages edit what others change")
    parser.add_argument("--requests", type=int, default=Settings.requests, help="of each client")
    parser.add_argument("--faults", type=float, default=Settings.faults_per_second, metavar="RATE")
    parser.add_argument("--keep", help="leave the history in this directory; for one run")
    parser.add_argument("--library", default=Settings.library, help="another backbone.io.js")
    args = parser.parse_args()
    servers, transports = (
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
            server=servers[count % len(servers)],
            transport=transports[count // len(servers) % len(transports)],
            journal=args.journal,
            edits=args.edits,
            requests=args.requests,
            faults_per_second=args.faults,
            library=args.library,
        )
        count += 1
        try:
            print(settings.server, settings.transport, run(settings, args.keep), flush=True)  # noqa: T201
        except Failed as failure:
            failed += 1
            print(failure, flush=True)  # noqa: T201
    print(f"{count} runs, {failed} failed")  # noqa: T201
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
