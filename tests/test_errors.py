"""How exceptions become what a client sees."""

from __future__ import annotations

from typing import Any

import flask
import pytest
import werkzeug.exceptions

import backboneio
from backboneio import errors
from backboneio.testing import SyncClient

FAMILY = [
    backboneio.BadRequest,
    backboneio.Unauthorized,
    backboneio.Forbidden,
    backboneio.NotFound,
    backboneio.Conflict,
    backboneio.TooLarge,
    backboneio.Timeout,
    backboneio.Unavailable,
]


class Told(Exception):
    """An exception with attributes, as other libraries have them."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = 3


@pytest.mark.parametrize("kind", FAMILY)
def test_the_family_is_shown_by_name_message_and_attributes(kind: Any) -> None:
    assert issubclass(kind, backboneio.SyncError)
    assert errors.error_object(kind("why", code=42, _secret=1, function=print)) == {
        "error": {"name": kind.__name__, "message": "why", "code": 42}
    }


def test_a_class_of_your_own_is_shown_by_its_name() -> None:
    class OutOfStock(backboneio.SyncError):
        """An error of an application."""

    assert errors.error_object(OutOfStock("none left", left=0)) == {
        "error": {"name": "OutOfStock", "message": "none left", "left": 0}
    }


def test_invalid_carries_messages_by_field() -> None:
    err = backboneio.Invalid(fields={"text": "is empty", "title": ["is long", "is rude"]})
    assert errors.error_object(err) == {
        "error": {
            "name": "Invalid",
            "message": "the model is not valid",
            "fields": {"text": ["is empty"], "title": ["is long", "is rude"]},
        }
    }


def test_attributes_cannot_fake_name_and_message() -> None:
    err = backboneio.Forbidden("real", name="fake")
    assert errors.error_object(err)["error"] == {"name": "Forbidden", "message": "real"}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("words", {"name": "Error", "message": "words"}),
        ({"name": "Mine", "message": "m", "a": 1}, {"name": "Mine", "message": "m", "a": 1}),
        ({"a": 1}, {"name": "Error", "message": "", "a": 1}),
        (7, {"name": "Error", "message": "7"}),
        (ValueError("v"), {"name": "ValueError", "message": "v"}),
        (Told("t"), {"name": "Told", "message": "t", "code": 3}),
        ({"message": "m", "self": 1}, {"name": "Error", "message": "m", "self": 1}),
        (
            werkzeug.exceptions.NotFound(),
            {
                "name": "NotFound",
                "message": werkzeug.exceptions.NotFound.description,
                "code": 404,
            },
        ),
        (backboneio.SyncError(ValueError("inside")), {"name": "SyncError", "message": "inside"}),
        (backboneio.NotFound(7), {"name": "NotFound", "message": "7"}),  # type: ignore[arg-type]
    ],
)
def test_what_a_layer_hands_on_is_shown(given: Any, shown: Any) -> None:
    assert errors.error_object(errors.handed(given)) == {"error": shown}


@pytest.mark.parametrize("how", ["raise", "next", "error"])
def test_client_sees_errors_however_they_are_given(
    app: flask.Flask, messages: backboneio.Backend, how: str
) -> None:
    @messages.use("create")
    def refuse(req: Any, res: Any, next: Any) -> None:
        err = backboneio.Unauthorized("log in first", login="/login")
        if how == "raise":
            raise err
        (next if how == "next" else res.error)(err)

    backboneio.listen(app, {"messages": messages})
    with pytest.raises(backboneio.Unauthorized, match="log in first") as caught:
        SyncClient(app, "messages").create({})
    assert caught.value.attributes == {"login": "/login"}


def test_flask_abort_is_shown_by_code_and_description(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    messages.use("create", lambda req, res: flask.abort(403))
    backboneio.listen(app, {"messages": messages})
    with pytest.raises(backboneio.Forbidden) as caught:
        SyncClient(app, "messages").create({})
    assert caught.value.attributes == {"code": 403}


class Permission:
    """As Flask-Principal's, which it gives to ``abort``: true or not only where somebody asks."""

    def __bool__(self) -> bool:
        raise RuntimeError("working outside of application context")


def test_flask_abort_with_an_object_is_answered_too(app: flask.Flask, messages: Any) -> None:
    messages.use("go", lambda req, res: flask.abort(403, Permission()))
    backboneio.listen(app, {"messages": messages})
    with pytest.raises(backboneio.SyncError) as refused:
        SyncClient(app, "messages").sync("go")
    assert (refused.value.name, refused.value.attributes) == ("Forbidden", {"code": 403})


def test_an_exception_is_no_http_exception_for_looking_like_one(
    app: flask.Flask, messages: backboneio.Backend
) -> None:
    class DatabaseError(Exception):
        code = 1045
        description = "access denied for the user root"

    @messages.use("create")
    def fail(req: Any, res: Any) -> None:
        raise DatabaseError

    backboneio.listen(app, {"messages": messages})
    with pytest.raises(backboneio.SyncError) as caught:
        SyncClient(app, "messages").create({})
    assert (caught.value.name, caught.value.attributes) == ("InternalError", {})


def test_an_unexpected_exception_is_logged_and_shown_without_details(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.use("create")
    def fail(req: Any, res: Any) -> None:
        raise LookupError("the password is 1234")

    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    with pytest.raises(backboneio.SyncError) as caught:
        client.create({})
    assert (caught.value.name, caught.value.attributes) == ("InternalError", {})
    assert "1234" not in str(caught.value)
    assert "1234" in caplog.text
    assert "Traceback" in caplog.text

    app.debug = True  # is looked at when it happens
    with pytest.raises(backboneio.SyncError) as caught:
        client.create({})
    assert (caught.value.name, str(caught.value)) == ("LookupError", "the password is 1234")
    assert "in fail" in caught.value.attributes["stack"]


@pytest.mark.parametrize("kind", [Exception, backboneio.SyncError])
def test_an_error_that_cannot_be_shown_is_answered_too(
    app: flask.Flask,
    messages: backboneio.Backend,
    caplog: pytest.LogCaptureFixture,
    kind: type[Exception],
) -> None:
    class Mute(kind):  # type: ignore[misc, valid-type]
        def __str__(self) -> str:
            raise UnicodeError("no words")

        name = property(__str__)

    @messages.use("create")
    def fail(req: Any, res: Any) -> None:
        raise Mute

    app.debug = True
    backboneio.listen(app, {"messages": messages})
    client = SyncClient(app, "messages")
    for _ in range(2):  # under the same id: the answer of the first
        with pytest.raises(backboneio.SyncError, match="could not handle") as caught:
            client.sync("create", {}, id="1")
        assert caught.value.name == "InternalError"
    assert caplog.text.count("a Mute cannot be shown") == 1


def test_an_error_meant_for_clients_is_not_logged(
    app: flask.Flask, messages: backboneio.Backend, caplog: pytest.LogCaptureFixture
) -> None:
    messages.use("create", lambda req, res, next: next(backboneio.Forbidden("no")))
    backboneio.listen(app, {"messages": messages})
    with pytest.raises(backboneio.Forbidden):
        SyncClient(app, "messages").create({})
    assert caplog.text == ""
