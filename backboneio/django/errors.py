"""Which of Django's exceptions a client may see, and as what."""

from __future__ import annotations

from django.core import exceptions
from django.http import Http404

from .. import errors


def client_error(err: BaseException) -> errors.SyncError | None:
    """Return one of Django's exceptions as the error that it stands for; None for all others.

    They are those that Django itself makes 400, 403 and 404 of, besides ``ValidationError`` and
    ``ObjectDoesNotExist``. Messages that Django keeps from visitors, we keep from clients.
    """
    if isinstance(err, exceptions.ValidationError):
        if hasattr(err, "error_dict"):
            return errors.Invalid(fields=err.message_dict)
        return errors.Invalid("; ".join(err.messages))
    if isinstance(err, exceptions.PermissionDenied):
        return errors.Forbidden(_message(err) or "this is not allowed")
    if isinstance(err, Http404):
        return errors.NotFound(_message(err) or "there is nothing like that")
    if isinstance(err, exceptions.ObjectDoesNotExist):
        return errors.NotFound("there is no such model")
    if isinstance(err, exceptions.BadRequest | exceptions.SuspiciousOperation):
        return errors.BadRequest("the request was refused")
    return None


def _message(err: Exception) -> str:
    """Return the message that was given to an exception: a text, perhaps one to be translated."""
    return str(err.args[0]) if err.args and not isinstance(err.args[0], dict) else ""
