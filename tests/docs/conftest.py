"""Fixtures: a page's code, run."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from .stages import played


@pytest.fixture
def play(tmp_path: pathlib.Path) -> Iterator[Any]:
    """Run the Python of a page; return what it has made."""
    with ExitStack() as stack:
        yield lambda page: stack.enter_context(played(page, tmp_path))
