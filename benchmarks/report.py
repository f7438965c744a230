"""What was measured, as tables in Markdown and as a plot in SVG: medians over the rounds."""

from __future__ import annotations

import json
import statistics
import sys
from html import escape
from pathlib import Path
from typing import Any

from processes import KINDS

OURS = "flask"
#: The number of clients that all servers are compared at, when it was measured.
USUAL = 200

#: Heading, figure, factor, and digits after the point.
Column = tuple[str, str, float, int]
DELIVERY: list[Column] = [
    ("CPU µs per delivery, joined", "fan_out_cpu", 1e6, 2),
    ("deliveries/s", "fan_out_rate", 1, 0),
    ("CPU µs per delivery, one by one", "latency_cpu", 1e6, 1),
    ("p50 ms", "latency_p50", 1e3, 1),
    ("p99 ms", "latency_p99", 1e3, 1),
    ("p50, CPU-bound thread", "spin_p50", 1e3, 0),
    ("p99, CPU-bound thread", "spin_p99", 1e3, 0),
]
STANDING: list[Column] = [
    ("KB per client", "memory", 1 / 1024, 1),
    ("threads", "threads", 1, 0),
    ("CPU µs per connect", "connect_cpu", 1e6, 0),
    ("connects/s", "connect_rate", 1, 0),
    ("page ms, no client", "page_alone_p50", 1e3, 2),
    ("page ms, all clients", "page_beside_p50", 1e3, 2),
]
SYNC: list[Column] = [
    ("save: CPU µs", "sync_cpu", 1e6, 0),
    ("per second", "sync_rate", 1, 0),
    ("save, 9 hear it: CPU µs", "sync_heard_cpu", 1e6, 0),
    ("per second", "sync_heard_rate", 1, 0),
    ("read: CPU µs", "sync_read_cpu", 1e6, 0),
    ("per second", "sync_read_rate", 1, 0),
]
#: What is plotted: title, figure, factor, digits, clients (0: requests).
PANELS = [
    ("Fan-out: deliveries per second", "fan_out_rate", 1, 0, USUAL),
    ("Fan-out: CPU per delivery, µs", "fan_out_cpu", 1e6, 2, USUAL),
    ("Memory per client, KB", "memory", 1 / 1024, 1, USUAL),
    ("Latency p99 at 20 changes/s, ms", "latency_p99", 1e3, 1, USUAL),
    ("Save, nine others hear it: requests per second", "sync_heard_rate", 1, 0, 0),
    ("Save, nine others hear it: CPU per request, µs", "sync_heard_cpu", 1e6, 0, 0),
]

Medians = dict[int, dict[str, dict[str, float]]]  # by clients, by server, by figure


def medians(results: dict[str, Any]) -> Medians:
    """Return the median of every figure over the rounds."""
    found: Medians = {}
    for name in KINDS:
        for clients, rounds in results["cases"].get(name, {}).items():
            keys = set().union(*rounds)
            found.setdefault(int(clients), {})[name] = {
                key: statistics.median([one[key] for one in rounds if key in one]) for key in keys
            }
    return found


def table(results: dict[str, Any]) -> str:
    """Return all tables; in brackets what the first server of each has that many times."""
    found = medians(results)
    parts = []
    for clients in sorted(found):
        servers = found[clients]
        if clients == 0:
            title, tables = "Ten clients, one request after the other", [SYNC]
        elif len(servers) == 1:
            continue
        else:
            title, tables = f"{clients:,} clients", [DELIVERY, STANDING]
        rows = {KINDS[name].title: servers[name] for name in servers}
        parts.append(f"### {title}")
        parts += [_rows("server", rows, columns, ratios=True) for columns in tables]
    ours = {
        f"{clients:,}": servers[OURS]
        for clients, servers in sorted(found.items())
        if clients and OURS in servers
    }
    if len(ours) > 1:
        parts.append(f"### {KINDS[OURS].title} by number of clients")
        parts += [_rows("clients", ours, table, ratios=False) for table in (DELIVERY, STANDING)]
    if reached := goals(found):
        parts.append(f"### Goals\n\n{reached}")
    return "\n\n".join(parts)


def _rows(
    what: str, rows: dict[str, dict[str, float]], columns: list[Column], *, ratios: bool
) -> str:
    columns = [column for column in columns if any(column[1] in row for row in rows.values())]
    lines = [
        f"| {what} | " + " | ".join(heading for heading, *_ in columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    base = next(iter(rows.values()))
    for title, row in rows.items():
        cells = []
        for _, key, factor, digits in columns:
            if key not in row:
                cells.append("")
                continue
            cell = f"{row[key] * factor:,.{digits}f}"
            if ratios and row is not base and base.get(key):
                cell += f" ({row[key] / base[key]:.2g})"
            cells.append(cell)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def goals(found: Medians) -> str:
    """Return a table of what is to be reached, for what was measured."""
    lines = ["| goal | measured | reached |", "| --- | ---: | --- |"]

    def goal(text: str, clients: int, name: str, key: str, peer: str, *, least: float) -> None:
        """Add a line: ours / peer's (inverted where less is better) has to be `least`."""
        mine = found.get(clients, {}).get(name, {}).get(key)
        other = found.get(clients, {}).get(peer, {}).get(key)
        if mine is None or other is None:
            return
        ratio = mine / other if key.endswith("_rate") else other / mine
        reached = "yes" if ratio >= least else "**no**"
        lines.append(f"| {text} | {ratio:.2g} | {reached} |")

    node, threads = "socketio4", "flask-socketio-threads"
    at = USUAL
    goal("deliveries/s: 3 x Node's", at, OURS, "fan_out_rate", node, least=3)
    goal("deliveries/s: 20 x Flask-SocketIO's", at, OURS, "fan_out_rate", threads, least=20)
    goal("CPU per delivery: 1/4 of Node's", at, OURS, "fan_out_cpu", node, least=4)
    goal("CPU per delivery: below the bare loop", at, OURS, "fan_out_cpu", "floor", least=1)
    for key, text in (("sync", "save"), ("sync_heard", "save, 9 hear it"), ("sync_read", "read")):
        for name in (OURS, "wsgi"):
            who = f"{text}, {KINDS[name].title}"
            goal(f"{who}: Node's requests/s", 0, name, f"{key}_rate", node, least=1)
            goal(f"{who}: 8 x Flask-SocketIO's", 0, name, f"{key}_rate", threads, least=8)
            goal(f"{who}: 1/8 of Flask-SocketIO's CPU", 0, name, f"{key}_cpu", threads, least=8)
    for clients in (USUAL, 1_000):
        text = f"latency p99, {clients:,} clients: Node's"
        goal(text, clients, OURS, "latency_p99", node, least=1)
    text = "latency p99, CPU-bound thread: half of Flask-SocketIO's"
    goal(text, at, OURS, "spin_p99", threads, least=2)
    for clients, servers in sorted(found.items()):
        row = servers.get(OURS, {})
        for key, text, most, factor in (
            ("memory", "KB per idle client: 16", 16, 1 / 1024),
            ("threads", "threads: under 50", 49, 1),
        ):
            if key in row:
                reached = "yes" if row[key] * factor <= most else "**no**"
                lines.append(f"| {text}, {clients:,} | {row[key] * factor:.3g} | {reached} |")
        if "page_alone_p50" in row:
            ratio = row["page_beside_p50"] / row["page_alone_p50"]
            reached = "yes" if ratio <= 2 else "**no**"
            lines.append(
                f"| page beside {clients:,} clients: 2 x alone | {ratio:.2f} | {reached} |"
            )
    return "\n".join(lines) if len(lines) > 2 else ""


def plot(results: dict[str, Any]) -> str:
    """Return bars, one panel a figure, one bar a server, as SVG."""
    found = medians(results)
    crowds = [clients for clients in found if clients]
    usual = USUAL if USUAL in found or not crowds else min(crowds)
    width, label, bar, gap = 470, 180, 18, 6
    panels = []
    for title, key, factor, digits, clients in PANELS:
        servers = found.get(usual if clients else 0, {})
        values = [(name, row[key] * factor) for name, row in servers.items() if key in row]
        if values:
            panels.append((title, digits, values))
    most = max((len(values) for *_, values in panels), default=0)
    height = 40 + most * (bar + gap)
    svg = []
    for index, (title, digits, values) in enumerate(panels):
        left, top = 10 + index % 2 * (width + 20), 40 + index // 2 * height
        svg.append(f'<text x="{left}" y="{top}" class="title">{escape(title)}</text>')
        largest = max(value for _, value in values) or 1
        for place, (name, value) in enumerate(values):
            y = top + 12 + place * (bar + gap)
            length = max(1.0, value / largest * (width - label - 80))
            color = "#0b6e99" if name in ("flask", "wsgi") else "#b8bec5"
            svg.append(
                f'<text x="{left + label - 8}" y="{y + 13}" text-anchor="end">'
                f"{escape(KINDS[name].title)}</text>"
                f'<rect x="{left + label}" y="{y}" width="{length:.1f}" height="{bar}"'
                f' rx="2" fill="{color}"/>'
                f'<text x="{left + label + length + 6:.1f}" y="{y + 13}">'
                f"{value:,.{digits}f}</text>"
            )
    caption = (
        f"{usual} clients (requests: 10), {results['cores']} cores, Python {results['python']}, "
        f"median of {results['rounds']} rounds, {results['date']}"
    )
    right, bottom = 2 * width + 40, 40 + (len(panels) + 1) // 2 * height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right} {bottom + 10}" '
        f'width="{right}" height="{bottom + 10}">\n'
        "<style>text{font:12px sans-serif;fill:#222}"
        ".title{font-weight:bold;font-size:14px}</style>\n"
        '<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(svg) + "\n"
        f'<text x="10" y="{bottom}" fill="#666">{escape(caption)}</text>\n</svg>\n'
    )


if __name__ == "__main__":  # python report.py results.json: the tables of an earlier run
    earlier = json.loads(Path(sys.argv[1]).read_text())
    print(table(earlier))
    Path(sys.argv[1]).with_name("benchmarks.svg").write_text(plot(earlier))
