"""What is measured on one server: a crowd of listeners, and ten clients that save and read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from load import Load, Result, begin_page, page, page_times
from processes import Kind, Process

#: Changes that server code emits in one go, for the fan-out.
BURST = 100
#: Changes a second that a client saves, for the latency.
RATE = 20
#: Clients that send one request after the other.
SYNC_CLIENTS = 10
#: Clients that the growth of memory is counted from: by then everything is loaded.
WARM = 10
PAGES = 100

Figures = dict[str, float]


def crowd(kind: Kind, clients: int, seconds: float) -> Figures:
    """Measure what `clients` listeners cost, on a fresh process.

    :param seconds: how long each measurement lasts that needs time.
    """
    figures: Figures = {}
    with Process(kind, clients) as process, closing(Load(process.port, kind.dialect)) as load:
        page_times(process.port, PAGES)
        _pages(process, figures, "alone")
        load.connect(WARM)
        load.idle(0.5)
        before = process.memory()
        cpu = process.cpu()
        opened = load.connect(clients - WARM)
        figures["connect_rate"] = opened.count / opened.seconds
        figures["connect_cpu"] = (process.cpu() - cpu) / opened.count
        load.idle(1.0)
        figures["memory"] = (process.memory() - before) / opened.count
        figures["threads"] = process.threads()
        _pages(process, figures, "beside")

        emit = partial(begin_page, process.port, f"emit/{BURST}")
        load.fan_out(emit, BURST, 0.0)  # warms up
        with _cpu(process, figures, "fan_out"):
            result = load.fan_out(emit, BURST, seconds)
            _count(figures, "fan_out", result)
        with _cpu(process, figures, "latency"):
            _latency(figures, "latency", load.latency(RATE, seconds))
        if kind.threaded:
            page(process.port, "spin")
            _latency(figures, "spin", load.latency(RATE, seconds))
            page(process.port, "rest")
        figures["threads"] = max(figures["threads"], process.threads())
    return figures


def sync(kind: Kind, seconds: float) -> Figures:
    """Measure the requests of ten clients, each of which waits for its answer."""
    figures: Figures = {}
    for name, method, channels in (
        ("sync", "update", True),  # nobody else hears it
        ("sync_heard", "update", False),  # the nine others hear it
        ("sync_read", "read", True),
    ):
        with Process(kind, 10) as process, closing(Load(process.port, kind.dialect)) as load:
            load.connect(SYNC_CLIENTS, channels)
            load.sync(method, seconds / 5)  # warms up
            with _cpu(process, figures, name):
                _count(figures, name, load.sync(method, seconds))
    return figures


def _count(figures: Figures, name: str, result: Result) -> None:
    figures[f"{name}_count"] = result.count
    figures[f"{name}_rate"] = result.count / result.seconds
    figures[f"{name}_busy"] = result.busy


def _latency(figures: Figures, name: str, result: Result) -> None:
    _count(figures, name, result)
    figures[f"{name}_p50"] = _percentile(result.latencies, 50)
    figures[f"{name}_p99"] = _percentile(result.latencies, 99)


def _pages(process: Process, figures: Figures, when: str) -> None:
    times = page_times(process.port, PAGES)
    figures[f"page_{when}_p50"] = _percentile(times, 50)
    figures[f"page_{when}_p99"] = _percentile(times, 99)


@contextmanager
def _cpu(process: Process, figures: Figures, name: str) -> Iterator[None]:
    """Take the server's CPU time for each of what `{name}_count` counts."""
    before = process.cpu()
    yield
    figures[f"{name}_cpu"] = (process.cpu() - before) / figures[f"{name}_count"]


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
