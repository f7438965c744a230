"""What was answered to which request id: the interface, and the memory of this process."""

from .base import Answered, Answers, Claim, Ready
from .memory import MemoryAnswers

__all__ = ["Answered", "Answers", "Claim", "MemoryAnswers", "Ready"]
