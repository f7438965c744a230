"""The example for everybody: keyboard, screen readers, contrast, small screens; its pictures."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from example_flask.models import hue

from ..support import ROOT
from .conftest import Window
from .looks import layout_shift, violations
from .people import Board, commit, live, log_in, note, texts, write

pytestmark = pytest.mark.e2e

IMAGES = ROOT / "docs" / "images"

#: The texts whose contrast to what is behind them is below WCAG 2.2's 4.5 : 1 (SC 1.4.3).
LOW_CONTRAST = """() => {
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const luminance = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = parse(getComputedStyle(element).backgroundColor);
      if (color[3] > 0) return color;
    }
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
    if (!text || !element.checkVisibility() || element.closest('.hidden, .skip')) continue;
    const [one, two] = [parse(getComputedStyle(element).color), behind(element)].map(luminance)
      .sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < 4.5) bad.push(text + ': ' + ratio.toFixed(2));
  }
  return bad;
}"""


def fill(board: Board, ann: Page, bob: Page) -> None:
    """Let two people and a program write what a board might say."""
    notes = (
        (bob, "Boil the kettle before stand-up, please"),
        (ann, "The projector is back in room 2"),
        (ann, "Order the cake for Friday: lemon, and one without nuts"),
        (None, "Build 214 passed. Release 1.4 is out!"),
        (bob, "Who has the key to the bike cellar?"),
        (ann, "Lunch together on Thursday? Say so here if you are in."),
    )
    for count, (page, text) in enumerate(notes, 1):
        if page is None:
            commit(board, text, author="CI", hue=hue("CI"))
        else:
            write(page, text)
        expect(texts(ann)).to_have_count(count)
        expect(texts(bob)).to_have_count(count)
    note(bob, notes[2][1]).get_by_label("Done").check()
    expect(ann.locator(".is-done")).to_have_count(1)


def test_with_the_keyboard_alone(board: Board, window: Window) -> None:
    ann = window(board)
    live(ann)
    ann.keyboard.press("Tab")
    expect(ann.get_by_role("link", name="Skip to the notes")).to_be_focused()
    ann.get_by_label("Your name").focus()
    ann.keyboard.type("Ann")
    ann.keyboard.press("Enter")
    expect(ann.get_by_role("button", name="Log out")).to_be_visible()
    live(ann)
    ann.get_by_label("New note").focus()
    for text in ("One", "Two"):
        ann.keyboard.type(text)
        ann.keyboard.press("Enter")
    expect(texts(ann)).to_have_text(["Two", "One"])
    expect(ann.get_by_label("New note")).to_be_focused()
    expect(ann.locator(".is-pending")).to_have_count(0)

    edit = note(ann, "Two").get_by_role("button", name="Edit")
    expect(edit).to_have_accessible_description("Two")
    edit.press("Enter")
    expect(ann.get_by_label("Text of the note")).to_be_focused()
    ann.keyboard.press("Escape")
    expect(edit).to_be_focused()
    ann.keyboard.press("Enter")
    ann.keyboard.press("Control+a")
    ann.keyboard.type("Three")
    ann.keyboard.press("Shift+Enter")
    ann.keyboard.type("and four")
    ann.keyboard.press("Enter")
    expect(texts(ann).first).to_have_text("Three\nand four", use_inner_text=True)
    expect(ann.locator(".note").first.get_by_role("button", name="Edit")).to_be_focused()
    note(ann, "One").get_by_label("Done").press("Space")
    expect(ann.locator(".is-done")).to_have_count(1)
    note(ann, "One").get_by_role("button", name="Delete").press("Enter")
    expect(texts(ann)).to_have_count(1)
    expect(ann.get_by_role("list", name="Notes")).to_be_focused()  # not nowhere


def test_changes_by_others_take_no_focus_and_are_announced(board: Board, window: Window) -> None:
    ann, bob = window(board), window(board)
    log_in(ann, "Ann")
    log_in(bob, "Bob")
    write(ann, "First")
    edit = note(ann, "First").get_by_role("button", name="Edit")
    expect(edit).to_be_enabled()
    edit.focus()
    write(bob, "Second")
    expect(texts(ann)).to_have_text(["Second", "First"])
    expect(ann.locator("[aria-live=polite]")).to_have_text("Bob wrote: Second")
    expect(edit).to_be_focused()
    note(bob, "Second").get_by_role("button", name="Delete").click()
    expect(ann.locator("[aria-live=polite]")).to_have_text("Deleted: Second")
    expect(edit).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_and_small_screens(board: Board, window: Window, scheme: str) -> None:
    ann = window(board, color_scheme=scheme)
    bob = window(board, color_scheme=scheme, viewport={"width": 320, "height": 640})
    assert ann.evaluate(LOW_CONTRAST) == []  # logged out, and empty
    log_in(ann, "Ann")
    log_in(bob, "Bob with a longer name")
    fill(board, ann, bob)
    note(bob, "Who has the key to the bike cellar?").get_by_role("button", name="Edit").click()
    bob.get_by_label("Text of the note").fill("")
    bob.get_by_role("button", name="Save").click()
    expect(bob.get_by_text("Write something first.")).to_be_visible()
    write(ann, "An/unbroken/line/" * 12)
    expect(texts(bob)).to_have_count(7)
    for page in (ann, bob):
        assert page.evaluate(LOW_CONTRAST) == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
        assert violations(page) == []
    guest = window(board, color_scheme=scheme)
    expect(texts(guest)).to_have_count(7)
    assert violations(guest) == []
    assert layout_shift(guest) < 0.1
    # What is touched is no smaller than WCAG 2.2 asks for (SC 2.5.8).
    for control in bob.get_by_role("button").or_(bob.get_by_role("link")).all():
        box = control.bounding_box()
        if box is not None and "hint" not in (control.locator("..").get_attribute("class") or ""):
            assert box["height"] >= 24 or box["height"] <= 1, control


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS=1 writes docs/images")
def test_screenshots(make_board: Callable[..., Board], window: Window) -> None:
    """Write the README's pictures: two windows on one board, and two phones."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    size = {"width": 690, "height": 690}
    phone = {"viewport": {"width": 390, "height": 700}, "device_scale_factor": 1.5}
    for name, ann, bob in (
        ("board", {"viewport": size}, {"viewport": size, "color_scheme": "dark"}),
        ("phone", phone, phone | {"color_scheme": "dark"}),
    ):
        url = make_board()
        pages = window(url, **ann), window(url, **bob)
        for page, who in zip(pages, ("Mia", "Omar"), strict=True):
            log_in(page, who)
        fill(url, *pages)
        cards = []
        for page in pages:
            page.locator("body").evaluate(
                "() => { document.activeElement.blur(); scrollTo(0, 0); }"
            )
            cards.append(page.screenshot(animations="disabled"))
        _side_by_side(window(), cards, IMAGES / f"{name}.png")


def _side_by_side(page: Page, pictures: list[bytes], path: Path) -> None:
    page.set_content(
        "<style>body { margin: 0; background: #8d93a8 } div { display: inline-flex; gap: 20px;"
        " padding: 20px } img { border-radius: 14px; box-shadow: 0 8px 30px rgb(0 0 0 / .35);"
        " max-height: 690px }</style><div>"
        + "".join(
            f"<img src='data:image/png;base64,{base64.b64encode(one).decode()}'>"
            for one in pictures
        )
        + "</div>"
    )
    page.set_viewport_size({"width": 1500, "height": 900})
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    page.locator("div").screenshot(path=path)
