"""Fixtures: windows of a real browser that fail the test for anything they complain about."""

from __future__ import annotations

import itertools
import logging
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

import backboneio
import example_flask

from ..support import PATIENCE, LiveServer
from .lab import Lab
from .people import Board
from .proxy import Proxy

ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
Window = Callable[..., Page]

expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="package")  # while it lives, the main thread has an asyncio loop running
def browser() -> Iterator[Browser]:
    path = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )
    assert path, "install Debian's package chromium, or say in CHROMIUM where it is"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep the development server's line for every request out of a failed test's report."""
    logger = logging.getLogger("werkzeug")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


@pytest.fixture
def window(browser: Browser, closing: ExitStack) -> Iterator[Window]:
    """Open a window with cookies of its own: ``window(url, **options of the context)``.

    Errors on its console, uncaught exceptions, and requests to anywhere but this machine fail the
    test; *tolerate* is a pattern of the errors that belong to it. ``beside=page`` opens another
    tab with that page's cookies instead. Windows close before the servers (on *closing*) do: what
    a page still fetches then is no complaint.
    """
    problems: list[str] = []
    with ExitStack() as stack:

        def window(
            url: str | None = None,
            *,
            tolerate: str = "$^",
            beside: Page | None = None,
            **options: Any,
        ) -> Page:
            if beside is None:
                options.setdefault("viewport", {"width": 1000, "height": 760})
                context = browser.new_context(**options)
                context.set_default_timeout(PATIENCE * 1000)
                stack.callback(context.close)
            else:
                context = beside.context
            page = context.new_page()

            def console(message: ConsoleMessage) -> None:
                if message.type in ("error", "warning") and not re.search(tolerate, message.text):
                    problems.append(f"console {message.type}: {message.text}")

            def request(request: Request) -> None:
                if not re.match(r"(https?://(127\.0\.0\.1|localhost):|data:|blob:)", request.url):
                    problems.append(f"a request to {request.url}")

            page.on("console", console)
            page.on("pageerror", lambda error: problems.append(f"uncaught: {error.stack}"))
            page.on("request", request)
            if url is not None:
                page.goto(url)
            return page

        yield window
    assert not problems, "\n".join(problems)


@pytest.fixture
def proxy(closing: ExitStack) -> Callable[[str], Proxy]:
    """Put a proxy in front of a server: ``proxy(url)``."""

    def make(url: str) -> Proxy:
        proxy = Proxy(url)
        closing.callback(proxy.close)
        return proxy

    return make


@pytest.fixture
def make_board(serve: Callable[..., LiveServer], tmp_path: pathlib.Path) -> Callable[..., Board]:
    """Serve the example on a database, by default an empty one; what is returned is its URL."""
    numbers = itertools.count()

    def make_board(database: str = "") -> Board:
        uri = database or f"sqlite:///{tmp_path}/board{next(numbers)}.db"
        config = {"SECRET_KEY": "of the tests", "TESTING": True, "SQLALCHEMY_DATABASE_URI": uri}
        app = example_flask.create_app(config)
        return Board.of(app, serve(app).url)

    return make_board


@pytest.fixture
def board(make_board: Callable[..., Board]) -> Board:
    """The URL of the example, being served."""
    return make_board()


@pytest.fixture
def lab(serve: Callable[..., LiveServer]) -> Lab:
    """Pages of the test's own, on backends ``messages`` and ``tasks``."""
    lab = Lab(messages=backboneio.create_backend(), tasks=backboneio.create_backend())
    lab.serve(serve)
    return lab
