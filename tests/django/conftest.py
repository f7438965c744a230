"""A site with one user, the application that serves backends on it, and a browser."""

from __future__ import annotations

from collections.abc import Iterator

import django.urls
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from django.test import Client as HTTP

import backboneio

from . import site
from .support import login, logout, users


@pytest.fixture
def handler() -> Iterator[WSGIHandler]:
    """The site's application, with one user."""
    path = django.urls.path
    made = site.application(path("login", login), path("logout", logout))
    users().all().delete()
    users().create_user("ada")
    yield made
    connections.close_all()


@pytest.fixture
def live(handler: WSGIHandler, messages: backboneio.Backend) -> backboneio.WSGIApp:
    return backboneio.WSGIApp(handler, {"messages": messages})


@pytest.fixture
def browser(handler: WSGIHandler) -> HTTP:
    """A browser that has logged in as ada."""
    browser = HTTP()
    browser.get("/login")
    return browser
