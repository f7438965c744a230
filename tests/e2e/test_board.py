"""The example as people use it: two windows, rooms, logging in, writing, editing, errors."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest
import requests
from playwright.sync_api import expect

from ..support import PATIENCE, ROOT
from .conftest import Window
from .people import Board, live, log_in, note, texts, write

pytestmark = pytest.mark.e2e


def command(board: Board, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command of the example as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "example_flask", *arguments],
        cwd=ROOT,
        env={**os.environ, "FLASK_SQLALCHEMY_DATABASE_URI": board.database},
        input=input,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )


def test_what_one_adds_edits_and_deletes_the_other_sees(board: Board, window: Window) -> None:
    ann, bob = window(board), window(board)
    log_in(ann, "Ann")
    log_in(bob, "Bob")

    write(ann, "Order the cake")
    expect(texts(bob)).to_have_text(["Order the cake"])
    expect(note(bob, "Order the cake").locator(".author")).to_have_text("Ann")
    write(bob, "Find the key")
    expect(texts(ann)).to_have_text(["Find the key", "Order the cake"])

    note(bob, "Order the cake").get_by_label("Done").check()
    expect(note(ann, "Order the cake").get_by_label("Done")).to_be_checked()

    note(ann, "Find the key").get_by_role("button", name="Edit").click()
    ann.get_by_label("Text of the note").fill("Key found")
    ann.get_by_role("button", name="Save").click()
    expect(note(bob, "Key found").locator(".editor")).to_have_text("edited by Ann")
    expect(note(bob, "Key found").locator(".author")).to_have_text("Bob")

    note(bob, "Order the cake").get_by_role("button", name="Delete").click()
    for page in (ann, bob):
        expect(texts(page)).to_have_text(["Key found"])
        page.reload()
        expect(texts(page)).to_have_text(["Key found"])


def test_rooms_do_not_mix_and_show_how_many_notes_are_open(board: Board, window: Window) -> None:
    ann, bob = window(board), window(f"{board}/rooms/workshop")
    log_in(ann, "Ann")
    log_in(bob, "Bob")
    write(ann, "In the lobby")
    write(bob, "In the workshop")
    for page, text in ((ann, "In the lobby"), (bob, "In the workshop")):
        expect(page.get_by_role("link", name="Lobby 1")).to_be_visible()
        expect(page.get_by_role("link", name="Workshop 1")).to_be_visible()
        expect(texts(page)).to_have_text([text])
    note(bob, "In the workshop").get_by_label("Done").check()
    expect(ann.get_by_role("link", name="Workshop", exact=True)).to_be_visible()
    ann.get_by_role("link", name="Workshop").click()
    expect(texts(ann)).to_have_text(["In the workshop"])


def test_who_is_here(board: Board, window: Window) -> None:
    ann, guest = window(board), window(board)
    log_in(ann, "Ann")
    here = ann.get_by_role("list", name="Here now").get_by_role("listitem")
    expect(here).to_have_text(["AAnn", "1 guest"])
    log_in(guest, "Bob")
    expect(here).to_have_text(["AAnn", "BBob"])
    second = window(board, beside=guest)  # is still one Bob
    live(second)
    expect(here).to_have_text(["AAnn", "BBob"])
    second.close()
    guest.close()
    expect(here).to_have_text(["AAnn"])


def test_guests_read_and_hear_but_do_not_write(board: Board, window: Window) -> None:
    ann, guest = window(board), window(board)
    log_in(ann, "Ann")
    live(guest)
    write(ann, "For everybody")
    expect(texts(guest)).to_have_text(["For everybody"])

    composer = guest.locator("#composer")
    expect(composer).to_contain_text("Log in to write")
    expect(composer.get_by_role("textbox")).to_have_count(0)
    composer.get_by_role("link", name="Log in").click()
    expect(guest.get_by_label("Your name")).to_be_focused()
    note(guest, "For everybody").get_by_role("button", name="Delete").click()
    expect(guest.locator("#toast")).to_have_text("Log in to write on the board.")
    done = note(guest, "For everybody").get_by_label("Done")
    done.click()
    expect(done).not_to_be_checked()
    for page in (ann, guest):
        expect(texts(page)).to_have_text(["For everybody"])


def test_logging_out_in_one_tab_ends_writing_in_the_others(board: Board, window: Window) -> None:
    first = window(board)
    log_in(first, "Ann")
    second = window(board, beside=first)
    live(second)
    write(second, "While logged in")
    expect(texts(first)).to_have_text(["While logged in"])
    first.get_by_role("button", name="Log out").click()
    expect(first.get_by_label("Your name")).to_be_visible()
    write(second, "After that")
    expect(second.get_by_role("alert").filter(has_text="Log in to write")).to_be_visible()
    expect(second.get_by_label("New note")).to_have_value("After that")  # not lost
    expect(second.get_by_label("New note")).to_have_attribute("aria-invalid", "true")
    expect(texts(first)).to_have_text(["While logged in"])


def test_the_server_says_what_is_wrong_with_a_note(board: Board, window: Window) -> None:
    ann = window(board)
    log_in(ann, "Ann")
    field, problem = ann.get_by_label("New note"), ann.locator("#text-error")
    write(ann, "   ")
    expect(problem).to_have_text("Write something first.")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(texts(ann)).to_have_count(0)
    field.press_sequentially("x")
    expect(problem).to_be_empty()
    # Past the field's own maxlength, which is a convenience and no guard.
    field.evaluate("(field) => { field.value = 'x'.repeat(281); field.form.requestSubmit(); }")
    expect(problem).to_have_text("Keep it to 280 characters, please.")
    write(ann, "Fine")
    expect(texts(ann)).to_have_text(["Fine"])
    expect(problem).to_be_empty()

    note(ann, "Fine").get_by_role("button", name="Edit").click()
    ann.get_by_label("Text of the note").fill("")
    ann.get_by_role("button", name="Save").click()
    expect(ann.locator(".editing .error")).to_have_text("Write something first.")
    ann.get_by_role("button", name="Cancel").click()
    expect(texts(ann)).to_have_text(["Fine"])


def test_two_people_edit_one_note(board: Board, window: Window) -> None:
    ann, bob = window(board), window(board)
    log_in(ann, "Ann")
    log_in(bob, "Bob")
    write(ann, "Meet at four")
    for page in (ann, bob):
        note(page, "Meet at four").get_by_role("button", name="Edit").click()
    mine, his = ann.get_by_label("Text of the note"), bob.get_by_label("Text of the note")
    mine.fill("Meet at five")
    his.fill("Meet at six")
    ann.get_by_role("button", name="Save").click()
    expect(texts(ann)).to_have_text(["Meet at five"])

    # What he writes stays, and he is told before he overwrites hers.
    expect(bob.locator(".editing .error")).to_contain_text("Ann has changed it meanwhile")
    expect(bob.locator(".editing .error")).to_contain_text("“Meet at five”")
    expect(his).to_have_value("Meet at six")
    bob.get_by_role("button", name="Save").click()
    for page in (ann, bob):
        expect(texts(page)).to_have_text(["Meet at six"])
        expect(page.locator(".editing")).to_have_count(0)

    # Different things of one note do not get into each other's way.
    note(ann, "Meet at six").get_by_role("button", name="Edit").click()
    note(bob, "Meet at six").get_by_label("Done").check()
    expect(ann.locator(".note.is-done")).to_have_count(1)
    mine.fill("Met at six")
    ann.get_by_role("button", name="Save").click()
    expect(bob.locator(".note.is-done .text")).to_have_text(["Met at six"])


def test_what_other_processes_commit_is_in_every_window(board: Board, window: Window) -> None:
    lobby, workshop = window(board), window(f"{board}/rooms/workshop")
    live(lobby)
    live(workshop)
    python = (
        "from example_flask.models import Note, db\n"
        "db.session.add(Note(room='lobby', text='From a shell'))\n"
        "db.session.commit()\n"
    )
    assert command(board, "shell", input=python).returncode == 0
    expect(note(lobby, "From a shell").locator(".author")).to_have_text("server")

    call = ("backboneio", "call", "notes", "create")
    done = command(board, *call, '{"text": "Über alles"}', "--channel", "workshop")
    assert (done.returncode, json.loads(done.stdout)["id"]) == (0, 2)
    expect(note(workshop, "Über alles").locator(".author")).to_have_text("server")
    expect(texts(lobby)).to_have_text(["From a shell"])

    for text, problem in (
        (" ", "Write something first."),
        ("x" * 281, "Keep it to 280 characters, please."),
    ):
        refused = command(board, *call, json.dumps({"text": text}), "--channel", "lobby")
        assert refused.returncode == 1
        assert refused.stderr == f"Error: Invalid: {problem}\n"
    assert command(board, *call, '{"text": "No"}', "--channel", "cellar").returncode == 1

    python = (
        "from example_flask.models import Note, db\n"
        "db.session.get(Note, 1).done = True\n"
        "db.session.delete(db.session.get(Note, 2))\n"
        "db.session.commit()\n"
    )
    assert command(board, "shell", input=python).returncode == 0
    expect(note(lobby, "From a shell").get_by_label("Done")).to_be_checked()
    expect(texts(workshop)).to_have_count(0)
    # As the page says.
    line = workshop.locator(".empty code").inner_text().removeprefix("flask --app example_flask ")
    assert command(board, *shlex.split(line)).returncode == 0
    expect(texts(workshop)).to_have_text(["Hello"])
    assert requests.get(f"{board}/rooms/cellar", timeout=PATIENCE).status_code == 404


def test_without_javascript(board: Board, window: Window) -> None:
    plain, ann = window(board, java_script_enabled=False), window(board)
    live(ann)
    expect(plain.get_by_text("Log in to write")).to_be_visible()
    plain.get_by_label("Your name").fill("Paul")
    plain.get_by_role("button", name="Log in").click()
    plain.get_by_label("New note").fill("Hello")
    plain.get_by_role("button", name="Add note").click()
    expect(texts(plain)).to_have_text(["Hello"])
    plain.get_by_role("button", name="Add note").click()
    expect(plain.get_by_role("alert").filter(has_text="Write something first.")).to_be_visible()
    expect(note(ann, "Hello").locator(".author")).to_have_text("Paul")  # at once, in other windows


def test_what_people_write_is_never_markup(board: Board, window: Window) -> None:
    ann, bob = window(board), window(board)
    evil = "<img src=x onerror=document.title='hacked'><b>&amp;{{ 7*7 }}"
    log_in(ann, "<i>A</i>")
    live(bob)
    write(ann, evil)
    expect(texts(bob)).to_have_text([evil])
    bob.reload()  # as painted by the server
    expect(texts(bob)).to_have_text([evil])
    expect(bob.locator(".note .author")).to_have_text("<i>A</i>")
    assert bob.locator(".note img, .note b, .note i").count() == 0
    expect(bob).to_have_title("Lobby | Board")


def test_names(board: Board, window: Window) -> None:
    page = window(board)
    page.get_by_label("Your name").evaluate("(field) => { field.removeAttribute('maxlength'); }")
    page.get_by_label("Your name").fill("x" * 25)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("A name has 1 to 24 characters.")).to_be_visible()
    log_in(page, "  Jean   Luc ")
    expect(page.locator(".who .name")).to_have_text("Jean Luc")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Your name")).to_be_visible()


def test_other_sites_cannot_act_in_somebodys_name(
    board: Board, make_board: Callable[..., Board], window: Window
) -> None:
    ann = window(board)
    log_in(ann, "Ann")
    # "localhost" is another site than "127.0.0.1" to a browser.
    other = make_board().replace("127.0.0.1", "localhost")
    attacker = window(other, beside=ann, tolerate="WebSocket|CORS|ERR_")
    attacker.route(
        "**/evil",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f"<form action='{board}/rooms/lobby/notes' method=post>"
            "<input name=text value=Evil><button>Win</button></form>",
        ),
    )
    attacker.goto(f"{other}/evil")
    with attacker.expect_response(lambda response: response.url.endswith("/notes")):
        attacker.get_by_role("button", name="Win").click()
    expect(attacker.get_by_text("Log in to write on the board.")).to_be_visible()  # as a guest
    write(ann, "Still mine")
    expect(texts(ann)).to_have_text(["Still mine"])
