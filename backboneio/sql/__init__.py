"""The journal that lives where the data lives; see docs/sql.md."""

from .journal import SQLJournal
from .log import SQLLog

__all__ = ["SQLJournal", "SQLLog"]
