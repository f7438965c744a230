"""Measure this project and its peers on the same work, interleaved; print a table, draw a plot.

python benchmarks/run.py --quick
python benchmarks/run.py --only flask,socketio4 --clients 200,1000 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from pathlib import Path

import figures
import report
from processes import CACHE, KINDS, install

#: Numbers of clients for this project, and for its peers.
OURS, PEERS = (100, 200, 1_000, 5_000, 10_000), (200, 1_000)
QUICK = (50,)

#: A server and a number of clients; zero clients stand for the requests of ten.
Case = tuple[str, int]


def main() -> None:
    """Run what the command line asks for."""
    options = _options()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the servers inherit it
    install()
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cases": {},
    }
    options.output.mkdir(parents=True, exist_ok=True)
    for number in range(options.rounds):
        for name, clients in _cases(options):
            _measure(results["cases"], name, clients, options.seconds, number)
            # After every case: what is measured is not lost when the rest is interrupted.
            (options.output / "results.json").write_text(json.dumps(results, indent=1))
    print()
    print(report.table(results))
    (options.output / "benchmarks.svg").write_text(report.plot(results))
    print(f"\nresults.json and benchmarks.svg are in {options.output}")


def _measure(cases: dict, name: str, clients: int, seconds: float, number: int) -> None:
    kind = KINDS[name]
    what = f"{clients:,} clients" if clients else "requests"
    print(f"round {number + 1}: {kind.title}, {what} ", end="", flush=True)
    started, others = time.monotonic(), _others()
    try:
        found = figures.crowd(kind, clients, seconds) if clients else figures.sync(kind, seconds)
    except Exception as err:  # one server that fails does not end the comparison
        print(f"failed: {err!r}", flush=True)
        return
    took = time.monotonic() - started
    found["others"] = (_others() - others) / took
    cases.setdefault(name, {}).setdefault(str(clients), []).append(found)
    print(f"({took:.0f} s, others used {found['others']:.2f} cores)", flush=True)


def _others() -> float:
    """Return the seconds of CPU that everything but this program and its servers has used."""
    user, nice, system, _idle, _wait, *rest = (
        int(ticks) for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    everything = (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK")
    return everything - sum(os.times()[:4])


def _cases(options: argparse.Namespace) -> list[Case]:
    """Return what a round measures: by number of clients, each server in its turn."""
    counts = options.clients or (QUICK if options.quick else sorted({*OURS, *PEERS}))
    cases: list[Case] = []
    for clients in (0, *counts):
        for name in options.only:
            kind = KINDS[name]
            usual = options.clients or options.quick or clients == 0
            wanted = usual or clients in (OURS if name == "flask" else PEERS)
            # Around a plain callable only requests differ; the floor answers none.
            able = name != "wsgi" if clients else kind.dialect.answers
            if wanted and able and clients <= kind.most:
                cases.append((name, clients))
    return cases


def _options() -> argparse.Namespace:
    def names(text: str) -> list[str]:
        found = text.split(",")
        for name in found:
            if name not in KINDS:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(KINDS)}")
        return found

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(number.replace("_", "")) for number in text.split(","))

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument(
        "--only", type=names, default=list(KINDS), help="servers: " + ",".join(KINDS)
    )
    parser.add_argument("--clients", type=numbers, default=(), help="e.g. 200,1000; 0: requests")
    parser.add_argument("--rounds", type=int, help="default 3")
    parser.add_argument("--seconds", type=float, help="of each measurement, default 4")
    parser.add_argument("--quick", action="store_true", help="does everything work? a minute")
    parser.add_argument("--output", type=Path, default=CACHE / "results", help="a directory")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (0.3 if options.quick else 4.0)
    return options


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


if __name__ == "__main__":
    main()
