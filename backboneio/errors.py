"""SyncError and its family, and how an exception becomes the error object a client sees."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from werkzeug.exceptions import HTTPException

from . import json

logger = logging.getLogger("backboneio.errors")


class SyncError(Exception):
    """An error that is meant for the client.

    Raise it in a middleware layer, or hand it to ``next(err)`` or ``res.error(err)``: the client's
    ``error`` callback receives ``{"error": {"name": ..., "message": ..., **attributes}}``, the form
    that the original gave every error.

    :param message: what went wrong and what would be right, for the person who reads it.
    :param attributes: further JSON values for the client, e.g. ``code=42``.
    """

    def __init__(self, message: str = "", **attributes: Any) -> None:
        super().__init__(message)
        self.message = message
        self.attributes = attributes

    @property
    def name(self) -> str:
        """The ``name`` that the client sees: the class's."""
        return type(self).__name__


class BadRequest(SyncError):
    """The request is not of the form that the protocol or the backend asks for."""


class Unauthorized(SyncError):
    """Nobody is logged in, and somebody has to be."""


class Forbidden(SyncError):
    """Whoever is logged in may not do this."""


class NotFound(SyncError):
    """There is no such model."""


class Conflict(SyncError):
    """The request contradicts another one, or a change that came before it."""


class Invalid(SyncError):
    """The model does not pass validation.

    :param fields: messages by field, e.g. ``{"text": ["must not be empty"]}``.
    """

    def __init__(
        self,
        message: str = "the model is not valid",
        fields: Mapping[str, str | list[str]] | None = None,
        **attributes: Any,
    ) -> None:
        self.fields = {
            field: [messages] if isinstance(messages, str) else list(messages)
            for field, messages in (fields or {}).items()
        }
        super().__init__(message, fields=self.fields, **attributes)


class TooLarge(SyncError):
    """The model, or what it would be added to, is over a limit."""


class Timeout(SyncError):
    """The answer did not come in time; whether the change was made is not known."""


class Unavailable(SyncError):
    """Something that the backend needs is away for the moment; trying again later may help."""


class HandedError(SyncError):
    """What a layer handed to ``next(err)`` or ``res.error(err)`` when it was no :class:`SyncError`.

    Strings, dicts and ordinary exceptions may be handed on, as in Connect; handing them on is the
    permission to show them to the client.

    :param cause: the value that was handed on.
    """

    def __init__(self, cause: object) -> None:
        self.cause = cause
        self._name = "Error"
        message, attributes = cause, {}
        if isinstance(cause, BaseException):
            self._name = type(cause).__name__
            attributes = _public_attributes(vars(cause))
            self.__cause__ = cause
        elif isinstance(cause, Mapping):
            attributes = {str(key): value for key, value in cause.items()}
            self._name = str(attributes.pop("name", "Error"))
            message = attributes.pop("message", "")
        super().__init__(str(message))
        self.attributes = attributes  # may be called what parameters of ours are called

    @property
    def name(self) -> str:
        """The name of the exception that was handed on, or ``"Error"``."""
        return self._name


#: Returns an exception of a framework as the error that it stands for, or None.
Translator = Callable[[BaseException], SyncError | None]
_translators: tuple[Translator, ...] = ()


def translate(translator: Translator) -> None:
    """Let :func:`client_error` ask *translator*, too: for a framework that is in use."""
    global _translators
    if translator not in _translators:
        _translators = (*_translators, translator)


def client_error(err: BaseException) -> SyncError | None:
    """Return *err* as an error that a client may see, or None when it may not.

    Besides :class:`SyncError` this is Werkzeug's ``HTTPException``, which ``flask.abort(403)``
    raises: its name, description and code are made for clients. So are some exceptions of other
    frameworks, see :func:`translate`.
    """
    if isinstance(err, SyncError):
        return err
    if isinstance(err, HTTPException) and err.code is not None:
        shown = HandedError(err)
        # Extensions hand on objects of theirs that are texts at certain times only.
        shown.message = err.description if isinstance(err.description, str) else ""
        shown.attributes = {"code": err.code}
        return shown
    for translator in _translators:
        try:
            translated = translator(err)
        except Exception:  # a message with a placeholder too many, say
            logger.exception("a %s cannot be translated", type(err).__name__)
            continue
        if translated is not None:
            return translated
    return None


def handed(err: object) -> SyncError:
    """Return what a layer handed on, or answered with, as an error for the client."""
    if isinstance(err, BaseException):
        shown = client_error(err)
        if shown is not None:
            return shown
    return HandedError(err)


def error_object(err: BaseException, debug: bool = False) -> dict[str, Any]:
    """Return ``{"error": {...}}``, what the client sees of *err*.

    An exception that is not meant for clients is an ``InternalError`` without any detail, unless
    *debug* is on: then message and stack are those of the exception.
    """
    try:
        return {"error": _shown(err, debug)}
    except Exception:  # of its own __str__, say; whoever waits gets an answer all the same
        logger.exception("a %s cannot be shown", type(err).__name__)
        return {"error": dict(_INTERNAL)}


_INTERNAL = {"name": "InternalError", "message": "the server could not handle the request"}


def _shown(err: BaseException, debug: bool) -> dict[str, Any]:
    shown = client_error(err)
    if shown is not None:
        error: dict[str, Any] = {
            **_public_attributes(shown.attributes),
            "name": shown.name,
            "message": str(shown.message),  # somebody may have given it an exception
        }
    elif debug:
        error = {"name": type(err).__name__, "message": str(err)}
    else:
        error = dict(_INTERNAL)
    if debug:
        error["stack"] = "".join(traceback.format_exception(err))
    return error


def _public_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what has a public name and can be JSON."""
    public = {}
    for key, value in attributes.items():
        if key.startswith("_"):
            continue
        try:
            json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            continue
        public[key] = value
    return public
