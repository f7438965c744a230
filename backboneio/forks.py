"""What has to be made anew in a forked child: one registry for the whole package.

A child inherits every lock as it was at the moment of the fork. One that another thread of the
parent held stays taken for ever, since that thread is not in the child, and what it protects may be
half changed. Epochs, connections and threads are the parent's, too. So whoever has a lock, a queue,
a thread or an identity of its own registers itself, and makes it anew in the child:

    class Journal:
        def __init__(self):
            self._lock = threading.Lock()
            forks.register(self)

        def after_fork(self):
            self._lock = threading.Lock()

``after_fork`` runs in the child before ``os.fork`` returns there, on its only thread, in the order
of registration: parts before the whole that is made of them. The thread that forks may itself be
inside a request, and goes on with it in the child: a turn that it holds, say, is let go of later.
"""

from __future__ import annotations

import itertools
import logging
import os
import weakref
from typing import Protocol

logger = logging.getLogger("backboneio.forks")


class Forkable(Protocol):
    """Something that :func:`register` takes."""

    def after_fork(self) -> None:
        """Make anew what a forked child cannot use as it was inherited."""


# By order of registration. Only single operations on the dictionary, which a fork in another thread
# cannot cut in two: a lock here would need a registry of its own.
_parts: dict[int, weakref.ref[Forkable]] = {}
_numbers = itertools.count()


def register(part: Forkable) -> None:
    """Call ``part.after_fork()`` in every child forked from now on, as long as *part* lives.

    An exception there is logged, and keeps nobody else from being made anew.
    """
    number = next(_numbers)
    _parts[number] = weakref.ref(part, lambda gone: _parts.pop(number, None))


def _after_fork() -> None:
    for reference in list(_parts.values()):
        part = reference()
        if part is not None:
            try:
                part.after_fork()
            except Exception:
                logger.exception("a %s cannot be made anew after a fork", type(part).__name__)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
