"""Backbone.js collections kept in sync, live, by a plain threaded WSGI application."""

from typing import TYPE_CHECKING, Any

from . import extras, middleware, testing
from .backbone import Backbone
from .backend import Backend, create_backend
from .errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    SyncError,
    Timeout,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from .inspection import inspector
from .limits import Limits
from .model import Change
from .request import Next, Request, Response, Socket
from .users import disconnect_user
from .wsgi import WSGIApp, listen, setup_sync

if TYPE_CHECKING:
    from .sql import SQLJournal

__version__ = "0.1.0"

__all__ = [
    "Backbone",
    "Backend",
    "BadRequest",
    "Change",
    "Conflict",
    "Forbidden",
    "Invalid",
    "Limits",
    "Next",
    "NotFound",
    "Request",
    "Response",
    "SQLJournal",
    "Socket",
    "SyncError",
    "Timeout",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "WSGIApp",
    "create_backend",
    "disconnect_user",
    "inspector",
    "listen",
    "middleware",
    "setup_sync",
    "testing",
]


def __getattr__(name: str) -> Any:
    """Import what needs an optional library when somebody asks for it."""
    if name != "SQLJournal":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with extras.sqlalchemy_needed(name):
        from .sql import SQLJournal
    return SQLJournal
