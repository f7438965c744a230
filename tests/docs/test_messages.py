"""docs/messages.md has every message of ours, and none that there is not any more."""

from __future__ import annotations

import re

from ..support import ROOT
from .messages import in_javascript, in_python, of_the_package, of_the_scripts

TEXT = " ".join((ROOT / "docs" / "messages.md").read_text().split())
_SPAN = re.compile(r"``(.+?)``(?!`)|(?<!`)`([^`]+)`(?!`)")


def spans(text: str) -> set[str]:
    """What is set as code."""
    return {double or single for double, single in _SPAN.findall(text)}


def told(message: str, shown: set[str]) -> bool:
    """Whether it is there, or its beginning with … for the rest."""
    return message in shown or any(
        message.startswith(beginning[:-1])
        for beginning in shown
        if beginning.endswith("…") and len(beginning) > 8
    )


def test_every_message_is_there() -> None:
    shown = spans(TEXT)
    messages = {message.replace("`", "") for message in of_the_package()}
    assert len(messages) > 200
    assert {message for message in messages if not told(message, shown)} == set()


def test_every_message_of_the_browser_is_there() -> None:
    pieces = of_the_scripts()
    assert len(pieces) > 10
    assert {piece for piece in pieces if piece.strip() not in TEXT} == set()


def test_no_message_is_there_that_there_is_not() -> None:
    """In the tables of the server's, whose first columns they are."""
    messages = {message.replace("`", "") for message in of_the_package()}
    rows = (ROOT / "docs" / "messages.md").read_text().split("## Made in the browser")[0]
    cells = [row.split("|")[1] for row in rows.splitlines() if row.startswith("| `")]
    shown = {span for cell in cells for span in spans(cell)}
    assert {span for span in shown if not any(told(m, {span}) for m in messages)} == set()


def test_a_message_is_found() -> None:
    assert in_python(
        "logger.warning('%s is %d times gone', a, b)\n"
        "def f(x):\n"
        "    raise TypeError(f'not {x!r}, but ' 'that')\n"
        "    g(Conflict('this one' if x else 'that one'))\n"
    ) == {"… is … times gone", "not …, but that", "this one", "that one"}
    assert in_javascript("warn('no (such) thing as' + a + ', that\\'s it, really');") == {
        "no (such) thing as",
        ", that's it, really",
    }
