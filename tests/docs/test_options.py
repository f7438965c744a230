"""Every limit is told once, with the default that it has; every public name and command is told."""

from __future__ import annotations

import dataclasses
import inspect
import re

import backboneio
from backboneio import Limits, WSGIApp
from backboneio.cli import group
from backboneio.transport.limits import LIMIT_OPTIONS, TransportLimits

from ..support import ROOT
from .blocks import DOCS

#: One `automodule` has them all.
ERRORS = {name for name in backboneio.__all__ if name in dir(backboneio.errors)}

#: Written in words, since they depend on the machine.
IN_WORDS = {"max_connections", "max_newcomers", "max_newcomers_per_address"}
#: Options of python-engineio's that bound the transport as well, by its own defaults.
ENGINEIO = {"max_http_buffer_size", "ping_interval", "ping_timeout"}


def rows(page: str, heading: str) -> dict[str, str]:
    """The rows of the table that begins so, by each name in the first column."""
    (table,) = re.findall(
        rf"^\| {heading} \|.*\n\|[- |]+\n((?:\|.*\n)+)", (DOCS / page).read_text(), re.M
    )
    found: dict[str, str] = {}
    for row in table.splitlines():
        _, names, rest = row.split("|", 2)
        for name in re.findall(r"`(\w+)`", names):
            assert name not in found, f"{name} is told twice"
            found[name] = rest
    return found


def written(value: float) -> set[str]:
    """The ways to write a default."""
    forms = {f"{value:,g}", f"{int(value):,}"}
    if value >= 1024:
        forms |= {f"{value / 1024:g} KiB", f"{value / 1024**2:g} MiB"}
    if value < 1:
        forms.add(f"{value * 1000:g} ms")
    return forms


def wrong(told: dict[str, str], defaults: dict[str, object]) -> list[str]:
    """The names whose row does not have their default."""
    found = []
    for name, value in defaults.items():
        if name in IN_WORDS or not isinstance(value, int | float):
            continue
        forms = "|".join(map(re.escape, written(value)))
        if not re.search(rf"(?<![\d.,])({forms})(?![\d.])", told[name]):
            found.append(name)
    return found


def test_the_limits_of_the_sync_layer() -> None:
    told = rows("guarantees.md", "limit")
    defaults = dataclasses.asdict(Limits())
    assert told.keys() == defaults.keys()
    assert wrong(told, defaults) == []
    assert wrong(told, {"turn_timeout": 11.0}) == ["turn_timeout"]


def test_the_limits_of_the_transport() -> None:
    told = rows("deployment.md", "option")
    assert told.keys() == LIMIT_OPTIONS | ENGINEIO
    defaults = {name: getattr(TransportLimits(), name) for name in LIMIT_OPTIONS}
    assert wrong(told, defaults) == []


def test_the_options_of_an_application_are_in_its_docstring() -> None:
    names = [name for name in inspect.signature(WSGIApp).parameters if name != "socketio_options"]
    text = inspect.getdoc(WSGIApp) or ""
    assert [name for name in names if f":param {name}:" not in text] == []


def test_every_public_name_is_in_the_reference() -> None:
    text = "".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    shown = {name.rpartition(".")[2] for name in re.findall(r"^\.\. auto\w+:: (\S+)", text, re.M)}
    modules = {"middleware", "testing"}
    assert set(backboneio.__all__) - modules - shown <= ERRORS
    assert set(backboneio.middleware.__all__) - {"MemoryStore"} - shown == set()


def test_every_command_that_the_pages_name_is_there() -> None:
    texts = [path.read_text() for path in [*DOCS.rglob("[!_]*.md"), ROOT / "README.md"]]
    named = {name for text in texts for name in re.findall(r"flask backboneio ([a-z-]+)", text)}
    assert named == set(group.commands)
