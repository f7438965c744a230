"""Imports run one way: the house has an order, and no part knows one that stands above it.

The lists are read from the bottom up. Parts on one line do not know each other. Every import
counts: those within functions, and those for type checkers only.
"""

from __future__ import annotations

import ast
import functools
import pathlib
from collections.abc import Iterator

import pytest

import backboneio

PACKAGE = pathlib.Path(backboneio.__file__).parent

#: backboneio/: modules and packages, a package standing for all that is in it.
HOUSE = [
    ["plain", "forks", "options", "extras", "remote"],
    ["volume"],
    ["json"],
    ["limits"],
    ["errors", "strand", "deadlines", "client_files"],
    ["model"],
    ["journal", "turns", "answers"],
    ["request"],
    ["application"],
    ["users"],
    ["stores"],
    ["middleware", "django", "flask"],
    ["stack"],
    ["execution"],
    ["attachments", "announcer"],
    ["backend", "sql"],
    ["sync"],
    ["transport"],
    ["socketio"],
    ["serving"],
    ["wsgi"],
    ["backbone", "cli", "inspection"],
    ["testing"],
    ["__init__"],
]

#: backboneio/transport/, the table in docs/architecture.md.
TRANSPORT = [
    ["limits", "frames", "handshake", "http", "native", "signals", "parking", "handover"],
    ["payload", "timers", "newcomers", "inbox", "task"],
    ["replies"],
    ["pool", "outbox"],
    ["hub"],
    ["link"],
    ["websocket", "poll"],
    ["session"],
    ["service"],
    ["heartbeat"],
    ["sending"],
    ["connection", "waiting"],
    ["longpolling", "neighbours"],
    ["endpoint"],
    ["server"],
    ["__init__"],
]


@functools.cache
def modules(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """Every module below a package by its name within it: {"pool": ..., "stores.base": ...}."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): path
        for path in sorted(root.rglob("*.py"))
        if "client" not in path.relative_to(root).parts[:1]
    }


def imported(root: pathlib.Path, name: str, path: pathlib.Path) -> Iterator[str]:
    """The modules of the package that a module imports, by their names within it."""
    known = modules(root)
    package = root.name
    here = [package, *name.split(".")][:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            targets = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            parts = target.split(".")
            if parts[0] != package:
                continue
            # The longest module of that name; `from .pool import Pool` names something inside it.
            for end in range(len(parts), 1, -1):
                found = ".".join(parts[1:end])
                if found in known:
                    yield found
                    break
                if f"{found}.__init__" in known:
                    yield f"{found}.__init__"
                    break
            else:
                yield "__init__"


def edges(root: pathlib.Path) -> set[tuple[str, str]]:
    return {
        (name, other)
        for name, path in modules(root).items()
        for other in imported(root, name, path)
        if other != name
    }


def arrows_up(pairs: set[tuple[str, str]], order: list[list[str]]) -> list[str]:
    """What imports something that does not stand below it."""
    rank = {name: level for level, names in enumerate(order) for name in names}
    return sorted(f"{a} imports {b}" for a, b in pairs if a != b and rank[a] <= rank[b])


def circles(pairs: set[tuple[str, str]]) -> set[str]:
    """The modules that are left when those without imports are taken away, again and again."""
    while True:
        importing = {a for a, _ in pairs}
        fewer = {(a, b) for a, b in pairs if b in importing}
        imported_by = {b for _, b in fewer}
        fewer = {(a, b) for a, b in fewer if a in imported_by}
        if fewer == pairs:
            return {name for pair in pairs for name in pair}
        pairs = fewer


def test_transport() -> None:
    root = PACKAGE / "transport"
    pairs = {(a.split(".")[0], b.split(".")[0]) for a, b in edges(root)}
    assert {name for level in TRANSPORT for name in level} >= {
        name.split(".")[0] for name in modules(root)
    }
    assert arrows_up(pairs, TRANSPORT) == []


def test_the_transport_knows_nothing_of_models_and_backends() -> None:
    pairs = {(a, b) for a, b in edges(PACKAGE) if a.startswith("transport.")}
    assert {b for _, b in pairs if not b.startswith("transport.")} <= {"forks", "options"}


def test_the_house() -> None:
    pairs = {(a.split(".")[0], b.split(".")[0]) for a, b in edges(PACKAGE)}
    unknown = {name for pair in pairs for name in pair} - {n for level in HOUSE for n in level}
    assert unknown == set(), "give it a place in HOUSE"
    assert arrows_up(pairs, HOUSE) == []


def test_no_circles() -> None:
    assert circles(edges(PACKAGE)) == set()


def test_a_circle_is_found(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "house"
    (root / "cellar").mkdir(parents=True)
    (root / "__init__.py").write_text("from .roof import Roof\n")
    (root / "roof.py").write_text("def f():\n    from .cellar import coal\n")
    (root / "cellar" / "__init__.py").write_text("from .coal import Coal\n")
    (root / "cellar" / "coal.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..roof import Roof\n"
    )
    found = edges(root)
    assert circles(found) == {"roof", "cellar.coal"}
    pairs = {(a.split(".")[0], b.split(".")[0]) for a, b in found}
    assert arrows_up(pairs, [["cellar"], ["roof"], ["__init__"]]) == ["cellar imports roof"]
    assert arrows_up({("a", "b")}, [["a", "b"]]) == ["a imports b"]


@pytest.mark.parametrize("order", [HOUSE, TRANSPORT])
def test_everything_has_one_place(order: list[list[str]]) -> None:
    names = [name for level in order for name in level]
    assert len(names) == len(set(names))
