"""Turns: writers of one model take them; the interface, and those of this process."""

from .base import Queue, Ready, Taking, Turn, Turns
from .local import LocalTurns

__all__ = ["LocalTurns", "Queue", "Ready", "Taking", "Turn", "Turns"]
