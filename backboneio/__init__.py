"""Backbone.js collections kept in sync, live, by a plain threaded WSGI application."""

from . import middleware, testing
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
from .limits import Limits
from .model import Change
from .request import Request, Response, Socket
from .users import disconnect_user
from .wsgi import WSGIApp, listen, setup_sync

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "BadRequest",
    "Change",
    "Conflict",
    "Forbidden",
    "Invalid",
    "Limits",
    "NotFound",
    "Request",
    "Response",
    "Socket",
    "SyncError",
    "Timeout",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "WSGIApp",
    "create_backend",
    "disconnect_user",
    "listen",
    "middleware",
    "setup_sync",
    "testing",
]
