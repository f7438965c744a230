"""The ordered log of what changed on a backend: its interface, and the one in memory."""

from .base import Deliver, Journal, checked_journal, checked_maker
from .memory import MemoryJournal

__all__ = ["Deliver", "Journal", "MemoryJournal", "checked_journal", "checked_maker"]
