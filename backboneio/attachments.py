"""Attachments: the applications on which a backend is served, and how a change comes to them."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from .execution import Context
from .model import Change
from .request import Socket
from .strand import Strand

logger = logging.getLogger("backboneio.backend")


class Attachment(Protocol):
    """An application on which a backend is served under one name (``sync.Sync``).

    :ivar name: that name.
    :ivar context: the application context that a stack runs in.
    :ivar is_current: tells whether this thread is in a context of the application.
    """

    name: str
    context: Context
    is_current: Callable[[], bool]

    def deliver(self, change: Change, token: object) -> None:
        """Tell the listeners of a change, and answer the request that made it; on the strand."""

    def clients(self) -> list[Socket]:
        """Return the clients that are connected."""


class Attachments:
    """The attachments of one backend, oldest first, as long as somebody else holds them.

    They are replaced as a whole and never changed, so reading them needs no lock; whoever adds one
    holds the backend's.

    :param strand: what everything that its clients are sent goes through, in one order.
    """

    def __init__(self, strand: Strand) -> None:
        self._strand = strand
        self._references: tuple[weakref.ref[Any], ...] = ()
        self._names: frozenset[str] = frozenset()  # of those that are gone, too

    def __iter__(self) -> Iterator[Attachment]:
        # An application that came earlier may be gone but for the garbage collection.
        for reference in self._references:
            attachment = reference()
            if attachment is not None:
                yield attachment

    def had(self, name: str) -> bool:
        """Whether the backend was ever served under a name."""
        return name in self._names

    def add(self, attachment: Attachment) -> None:
        """Deliver changes to *attachment* from now on."""
        alive = (reference for reference in self._references if reference() is not None)
        self._references = (*alive, weakref.ref(attachment))
        self._names = self._names | {attachment.name}

    def post(self, change: Change, token: object) -> None:
        """Deliver a change that comes from elsewhere than the strand."""
        self._strand.do(partial(self.deliver, change, token))

    def deliver(self, change: Change, token: object) -> None:
        """Deliver a change to whoever serves the backend; on the strand."""
        for reference in self._references:
            attachment = reference()
            if attachment is not None:
                try:
                    attachment.deliver(change, token)
                except Exception:
                    logger.exception("backend %r: a change was not told", attachment.name)
