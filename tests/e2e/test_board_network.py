"""The example when the network or the server goes away and comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .conftest import Window
from .people import Board, commit, live, log_in, note, texts, write
from .proxy import Proxy

pytestmark = pytest.mark.e2e

#: What the browser's console says of connections that fail, as it should.
FAILING = r"WebSocket|ERR_|Failed to load resource"
OFFLINE = "Offline: changes are sent when the connection is back"


def test_what_was_missed_arrives_and_what_was_written_is_sent(
    board: str, proxy: Callable[[str], Proxy], window: Window
) -> None:
    network = proxy(board)
    ann, bob = window(network.url, tolerate=FAILING), window(board)
    log_in(ann, "Ann")
    log_in(bob, "Bob")
    write(bob, "One")
    write(bob, "Two")
    expect(texts(ann)).to_have_text(["Two", "One"])

    network.down()
    expect(ann.get_by_role("status")).to_have_text(OFFLINE)
    note(bob, "One").get_by_role("button", name="Delete").click()
    note(bob, "Two").get_by_label("Done").check()
    write(bob, "Three")
    for text in ("Four", "Five"):  # shown at once, pale, and kept
        write(ann, text)
    expect(ann.locator(".note.is-pending .text")).to_have_text(["Four", "Five"])
    expect(bob.locator(".note.is-done .text")).to_have_text(["Two"])
    expect(texts(bob)).to_have_text(["Three", "Two"])

    network.restore()
    live(ann)
    for page in (ann, bob):
        expect(texts(page)).to_have_text(["Five", "Four", "Three", "Two"])
        expect(page.locator(".note.is-pending")).to_have_count(0)
        expect(note(page, "Two").get_by_label("Done")).to_be_checked()
    ann.reload()
    expect(texts(ann)).to_have_text(["Five", "Four", "Three", "Two"])


def test_a_connection_that_breaks_is_made_again(
    board: str, proxy: Callable[[str], Proxy], window: Window
) -> None:
    network = proxy(board)
    ann = window(network.url, tolerate=FAILING)
    log_in(ann, "Ann")
    here = ann.get_by_role("list", name="Here now").get_by_role("listitem")
    expect(here).to_have_text(["AAnn"])
    network.cut()
    expect(ann.get_by_role("status")).to_have_text(OFFLINE)
    live(ann)
    expect(here).to_have_text(["AAnn"])
    write(ann, "Back again")
    expect(texts(ann)).to_have_text(["Back again"])


def test_a_server_that_starts_anew(
    make_board: Callable[..., Board], proxy: Callable[[str], Proxy], window: Window
) -> None:
    first = make_board()
    network = proxy(first)
    ann, bob = window(network.url, tolerate=FAILING), window(network.url, tolerate=FAILING)
    log_in(ann, "Ann")
    log_in(bob, "Bob")
    write(ann, "Before the restart")
    expect(texts(bob)).to_have_count(1)
    network.down()
    for page in (ann, bob):
        expect(page.get_by_role("status")).to_have_text(OFFLINE)
    commit(first, "Meanwhile")

    # The new one has the notes; who is here it learns anew.
    network.point_to(make_board(first.database))
    network.restore()
    for page in (ann, bob):
        live(page)
        expect(texts(page)).to_have_text(["Meanwhile", "Before the restart"])
        expect(page.get_by_role("list", name="Here now").get_by_role("listitem")).to_have_count(2)
    write(ann, "Hello, second server")
    expect(texts(bob).first).to_have_text("Hello, second server")


def test_a_device_that_goes_offline(board: str, window: Window) -> None:
    ann, bob = window(board, tolerate=FAILING), window(board)
    log_in(ann, "Ann")
    log_in(bob, "Bob")
    ann.context.set_offline(True)
    expect(ann.get_by_role("status")).to_have_text(OFFLINE)
    write(bob, "Missed")
    write(ann, "Kept")
    expect(texts(ann)).to_have_text(["Kept"])
    ann.context.set_offline(False)
    for page in (ann, bob):
        expect(texts(page)).to_have_text(["Kept", "Missed"])


def test_coming_back_to_the_page(board: str, window: Window) -> None:
    ann, bob = window(board), window(board)
    live(ann)
    log_in(bob, "Bob")
    ann.get_by_role("link", name="Workshop").click()
    live(ann)
    write(bob, "While you were away")
    expect(texts(bob)).to_have_count(1)
    ann.go_back()
    live(ann)
    expect(texts(ann)).to_have_text(["While you were away"])
    write(bob, "And now")
    expect(texts(ann)).to_have_text(["And now", "While you were away"])
