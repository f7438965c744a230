"""Turns: writers of one model take them; the interface, and those of this process."""

from .base import Ready, Turn, Turns
from .local import LocalTurns

__all__ = ["LocalTurns", "Ready", "Turn", "Turns"]
