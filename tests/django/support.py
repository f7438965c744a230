"""What a site has: users, who log in and out, and pages."""

from __future__ import annotations

from typing import Any

import django.contrib.auth
import django.http
from django.test import Client as HTTP

import backboneio
from backboneio.testing import SyncClient


def login(request: Any) -> Any:
    django.contrib.auth.login(request, users().get(username="ada"))
    return django.http.HttpResponse()


def logout(request: Any) -> Any:
    django.contrib.auth.logout(request)
    return django.http.HttpResponse()


def users() -> Any:
    from django.contrib.auth.models import User

    return User.objects


def open_page(live: backboneio.WSGIApp, browser: HTTP | None = None) -> SyncClient:
    cookies = {} if browser is None else {"Cookie": browser.cookies.output(header="", sep=";")}
    return SyncClient(live, "messages", headers=cookies)
