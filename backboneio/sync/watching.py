"""Watcher: what somebody who looks at a running application is told; nobody looks, mostly."""

from __future__ import annotations

from typing import Protocol

from ..model import Change, Channel
from ..request import Socket


class Watcher(Protocol):
    """Told of what happens to the clients of a :class:`~backboneio.sync.Sync`.

    Called on the threads of clients and on the strand: it does not block, and takes no lock that
    is held while anything of ours is called.
    """

    def delivered(self, name: str, change: Change, heard: int) -> None:
        """A change of the backend *name* was sent to so many clients."""

    def reset(self, name: str, socket: Socket, channel: Channel, why: str) -> None:
        """A client that came back has to fetch anew."""

    def left(self, name: str, socket: Socket, why: str) -> None:
        """A client has gone."""
