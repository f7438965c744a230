"""Ready-made layers: ``backend.use(backboneio.middleware.memory_store())``."""

from typing import TYPE_CHECKING, Any

from .. import extras
from ..stores.memory import MemoryStore, memory_store
from .before_request import before_request
from .cookie_parser import cookie_parser
from .follow_only import follow_only
from .logger import logger
from .session import session

if TYPE_CHECKING:
    from ..stores.sqlalchemy import sqlalchemy_store

__all__ = [
    "MemoryStore",
    "before_request",
    "cookie_parser",
    "follow_only",
    "logger",
    "memory_store",
    "session",
    "sqlalchemy_store",
]


def __getattr__(name: str) -> Any:
    """Import what needs an optional library when somebody asks for it."""
    if name != "sqlalchemy_store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with extras.sqlalchemy_needed(name):
        from ..stores.sqlalchemy import sqlalchemy_store
    return sqlalchemy_store
