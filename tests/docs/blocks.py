"""The code in the pages: fenced blocks, by language."""

from __future__ import annotations

import pathlib
import re
from typing import NamedTuple

from ..support import ROOT

DOCS = ROOT / "docs"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """A fenced block of a page: its language, its text, and the line that its text begins on."""

    language: str
    text: str
    line: int


def pages() -> list[str]:
    """The pages of docs/, by their names below it: ``howto/files.md``."""
    found = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    return sorted(name for name in found if not name.startswith("_"))


def in_text(text: str) -> list[Block]:
    """All blocks of a text, in order."""
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 2)
        for match in _FENCE.finditer(text)
    ]


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of a page that are in one of some languages, in order."""
    found = in_text((DOCS / page).read_text())
    return [block for block in found if block.language in languages]


def runnable(*languages: str) -> list[str]:
    """The pages whose blocks in such languages run by themselves: not the tutorial's excerpts."""
    return [
        page for page in pages() if not page.startswith("tutorial/") and blocks(page, *languages)
    ]


def source(page: str) -> pathlib.Path:
    """The file of a page."""
    return DOCS / page
