"""What was answered to which request id: the interface, and the memory of this process."""

from .base import Answered, Answers, Claim, Ready, digest_of
from .memory import MemoryAnswers, forgotten

__all__ = ["Answered", "Answers", "Claim", "MemoryAnswers", "Ready", "digest_of", "forgotten"]
