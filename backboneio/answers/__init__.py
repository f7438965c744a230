"""What was answered to which request id: the interface, and the memory of this process."""

from .base import Answers, Claim, Ready
from .memory import MemoryAnswers

__all__ = ["Answers", "Claim", "MemoryAnswers", "Ready"]
