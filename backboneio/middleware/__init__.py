"""Ready-made layers: ``backend.use(backboneio.middleware.memory_store())``."""

from .before_request import before_request
from .cookie_parser import cookie_parser
from .logger import logger
from .memory_store import MemoryStore, memory_store
from .session import session

__all__ = ["MemoryStore", "before_request", "cookie_parser", "logger", "memory_store", "session"]
