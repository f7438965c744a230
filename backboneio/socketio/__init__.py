"""All that is asked of python-socketio and python-engineio beyond their documented interfaces.

Our own servers are subclasses; a server that exists already is hooked into, in the same places.
Every private name of theirs that is touched here is named in ``tests/socketio/test_contract.py``.

Nothing here knows what a backend's clients say to each other: events go to a ``Sync`` and come from
it, through a :class:`~backboneio.socketio.wire.SocketIOWire`.
"""

from .hooks import attach
from .server import make_server, stats

__all__ = ["attach", "make_server", "stats"]
