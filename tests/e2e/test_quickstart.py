"""The README's quick start, as it is pasted: one file, two windows, live."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ..docs.blocks import Block, in_text
from ..support import ROOT, ServerProcess
from .conftest import Window

pytestmark = pytest.mark.e2e

README = in_text((ROOT / "README.md").read_text())


def quickstart() -> Block:
    return README[0]


@pytest.fixture
def url(tmp_path: Path, serve_process: Callable[..., ServerProcess]) -> str:
    """Where the pasted file runs, by the command beside it."""
    (tmp_path / "quickstart.py").write_text(quickstart().text)
    command = next(block.text for block in README if not block.language).splitlines()[-1]
    assert command == "flask --app quickstart run"
    return serve_process(*command.split(), "--port", "0", cwd=tmp_path).url


def tasks(page: Page, *texts: str) -> None:
    expect(page.get_by_role("listitem")).to_have_text(list(texts))


def test_two_windows_show_the_same(url: str, window: Window) -> None:
    ann, bob = window(url), window(url)
    field = ann.get_by_placeholder("What is to be done?")
    expect(field).to_be_focused()
    field.fill("Buy milk")
    ann.get_by_role("button", name="Add").click()
    for page in (ann, bob):
        tasks(page, "\u2610 Buy milk")
    expect(field).to_have_value("")
    bob.get_by_text("Buy milk").click()
    for page in (ann, bob):
        tasks(page, "\u2611 Buy milk")
    bob.reload()
    tasks(bob, "\u2611 Buy milk")
    bob.get_by_placeholder("What is to be done?").fill("<b>Bread</b>")
    bob.keyboard.press("Enter")
    for page in (ann, bob):
        tasks(page, "\u2611 Buy milk", "\u2610 <b>Bread</b>")
    ann.get_by_text("Buy milk").dblclick()
    for page in (ann, bob):
        tasks(page, "\u2610 <b>Bread</b>")
