"""Every limit of the transport, with its default."""

from __future__ import annotations

import dataclasses

from ..options import KnownLimits


def default_max_connections() -> int:
    """What the file descriptor limit of the process allows, less one in ten for everything else."""
    try:
        import resource
    except ImportError:  # Windows, where nothing leaves the WSGI server
        return 1_000
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else max(1, int(soft * 0.9))


@dataclasses.dataclass(frozen=True)
class TransportLimits(KnownLimits):
    """What one client, and all of them together, may cost."""

    #: Bytes of one message, and of the body of one polling request. A WebSocket message is refused
    #: from its frame header, before it is buffered (close code 1009). Engine.IO calls it
    #: ``max_http_buffer_size`` and tells the client as ``maxPayload``.
    max_message: int = 1_000_000

    #: Bytes that may wait for one client behind the message which it is being sent. That one may
    #: be bigger than the limit. Beyond it the client is disconnected.
    max_backlog: int = 1_048_576

    #: Bytes that may wait for all clients together; what several wait for counts once. Beyond it
    #: whoever makes more bytes wait is disconnected.
    max_total_backlog: int = 268_435_456

    #: Packets that may wait for one client between two of its polls.
    max_backlog_packets: int = 10_000

    #: Packets in one polling request's body, and in one answer to a poll.
    max_packets: int = 1_000

    #: Packets, and bytes (times max_message), that a client may have posted without their having
    #: been handled yet. Bytes of a long message that is being handled are among them.
    max_inbox_packets: int = 2_000
    max_inbox_messages: int = 2

    #: Bytes that all clients together may have posted so, or sent of messages whose end is missing.
    max_total_inbox: int = 268_435_456

    #: Bytes of the names and values that are kept of a handshake's request; more are a 431.
    max_environ: int = 16_384

    #: Connections of one process; more are answered with 503.
    max_connections: int = dataclasses.field(default_factory=default_max_connections)

    #: Connections whose client has not sent a message yet: of all, and of one address. Beyond them
    #: (and beyond max_connections) a client that has not come back since its polling handshake
    #: makes room, the oldest first; when there is none, the answer is 503.
    max_newcomers: int = dataclasses.field(default_factory=lambda: default_max_connections() // 2)
    max_newcomers_per_address: int = dataclasses.field(
        default_factory=lambda: default_max_connections() // 4
    )

    #: Seconds a client has to send its first message (Socket.IO's CONNECT) after it was let in;
    #: None: for ever.
    handshake_timeout: float | None = 45.0

    #: Seconds an upgrade from polling to WebSocket may take.
    upgrade_timeout: float = 10.0

    #: Threads that handle messages; the pool starts with one and grows while handlers block.
    threads: int = 32

    #: One client's slice ends after that many messages or seconds; then the others have theirs.
    slice_messages: int = 16
    slice_seconds: float = 0.005

    #: Bytes of an answer to a poll that a thread of the WSGI server sends; the hub sends longer
    #: ones, as a client that does not read them would keep the thread.
    max_reply: int = 16_384

    #: Where the poll cannot leave the WSGI server (TLS in Python, mod_wsgi): so many polls may hold
    #: a thread for ``poll_wait`` seconds each (none where there is one thread, at most half of
    #: them where their number is known); all others share ``short_poll_wait`` seconds.
    waiting_polls: int = 2
    poll_wait: float = 20.0
    short_poll_wait: float = 0.05

    #: Seconds for the peer to answer our close before the connection is cut.
    close_timeout: float = 5.0

    #: Seconds at process exit for running handlers to finish and farewells to be sent.
    shutdown_timeout: float = 5.0


#: What a server takes as options of its own; ``max_message`` is its ``max_http_buffer_size``.
LIMIT_OPTIONS = {field.name for field in dataclasses.fields(TransportLimits)} - {"max_message"}
