"""Django's exceptions, and those of others, as clients are told of them."""

from __future__ import annotations

from typing import Any

import django.core.exceptions
import django.http
import pytest
from django.test.utils import override_settings

import backboneio

from .support import open_page, users


class NoSuchThing(django.core.exceptions.ObjectDoesNotExist):
    pass


@pytest.mark.parametrize(
    ("raised", "name", "message"),
    [
        (django.core.exceptions.PermissionDenied(), "Forbidden", "this is not allowed"),
        (django.core.exceptions.PermissionDenied("not yours"), "Forbidden", "not yours"),
        (django.http.Http404("no such page"), "NotFound", "no such page"),
        (NoSuchThing("SECRET matching query"), "NotFound", "there is no such model"),
        (django.core.exceptions.SuspiciousOperation("SECRET"), "BadRequest", "was refused"),
        (django.core.exceptions.ValidationError("too long"), "Invalid", "too long"),
    ],
)
@pytest.mark.parametrize("how", ["raised", "handed on"])
def test_djangos_exceptions_are_ours(
    live: Any,
    messages: Any,
    caplog: pytest.LogCaptureFixture,
    raised: Exception,
    name: str,
    message: str,
    how: str,
) -> None:
    @messages.use("fail")
    def fail(req: Any, res: Any, next: Any) -> None:
        if how == "handed on":
            next(raised)
        else:
            raise raised

    with pytest.raises(backboneio.SyncError, match=message) as told:
        open_page(live).sync("fail")
    assert told.value.name == name
    assert "SECRET" not in str(told.value)
    assert "Traceback" not in caplog.text


def test_a_model_that_does_not_validate_is_invalid_with_its_fields(
    live: Any, messages: Any
) -> None:
    @messages.use("rename")
    def rename(req: Any, res: Any) -> None:
        user = users().get()
        user.username = "two words"
        user.full_clean(exclude=["password"])
        res.end({})

    with pytest.raises(backboneio.Invalid) as told:
        open_page(live).sync("rename")
    assert list(told.value.fields) == ["username"]
    assert "valid username" in told.value.fields["username"][0]


def test_one_with_a_broken_message_stays_inside(
    live: Any, messages: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.use("fail")
    def fail(req: Any, res: Any) -> None:
        raise django.core.exceptions.ValidationError("%(nothing)s", params={"something": 1})

    with pytest.raises(backboneio.SyncError) as told:
        open_page(live).sync("fail")
    assert told.value.name == "InternalError"
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("debug", [False, True])
def test_other_exceptions_stay_inside_unless_in_debug_mode(
    live: Any, messages: Any, debug: bool
) -> None:
    messages.use("fail", lambda req, res: users().raw("nonsense")[0])
    with override_settings(DEBUG=debug), pytest.raises(backboneio.SyncError) as told:
        open_page(live).sync("fail")
    assert told.value.name == ("OperationalError" if debug else "InternalError")
