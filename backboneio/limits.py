"""Limits: every bound of the sync layer that can be set, with its default, in one place."""

from __future__ import annotations

import dataclasses

from .options import KnownLimits

#: Seconds after which the browser's code of version 0.1 still sends a request again.
MIN_ANSWER_AGE = 240.0


@dataclasses.dataclass(frozen=True)
class Limits(KnownLimits):
    """What one backend on one application holds at most (guarantee G7: bounded).

    ``backboneio.WSGIApp(app, backends, limits=backboneio.Limits(max_changes=1000))``
    """

    #: Changes that the journal keeps, for clients that come back and want what they missed.
    max_changes: int = 10_000
    #: Seconds that a change stays in the journal.
    max_change_age: float = 3600.0
    #: Bytes of JSON (as UTF-8) that the journal keeps.
    max_journal_bytes: int = 16 * 1024 * 1024
    #: Bytes of JSON (as UTF-8) that a client which comes back is sent as what it missed; over that
    #: it fetches. So does one that asks again and again: four times as much at once, and in ten
    #: seconds.
    max_replay_bytes: int = 256 * 1024
    #: Answers kept for requests that may be sent again, of all clients.
    max_answers: int = 10_000
    #: Seconds that an answer is kept after its client has gone; not below ``MIN_ANSWER_AGE``.
    max_answer_age: float = 300.0
    #: Bytes of JSON (as UTF-8) that the kept answers hold, with their ids where those are long.
    max_answer_bytes: int = 16 * 1024 * 1024
    #: Answers kept for one client.
    max_client_answers: int = 1_000
    #: Bytes that the answers kept for one client take: of JSON (as UTF-8), of their ids where those
    #: are long, and 320 for each.
    max_client_answer_bytes: int = 1024 * 1024
    #: Seconds that a request waits for its turn on a model before it fails with ``Conflict``.
    turn_timeout: float = 10.0
    #: Requests that wait for their turn on one model; one more fails with ``Conflict``.
    max_turn_waiting: int = 1_000
    #: Seconds that a request which was sent again waits for its first try to finish.
    answer_timeout: float = 60.0
    #: Channels of one backend that one client may listen to.
    max_channels: int = 100
    #: Characters of a channel's name, of a method's name and of a request id.
    max_name_length: int = 255
    #: Characters of a model's id.
    max_id_length: int = 1024
    #: Bytes of the ``auth`` that a client sends when it connects to a namespace; it is kept. Parsed
    #: it may take five times as many.
    max_auth_bytes: int = 8_192

    def __post_init__(self) -> None:
        """Refuse what would break a promise.

        :raises ValueError: naming the limit.
        """
        for name, limit in vars(self).items():
            if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit >= 0:
                raise ValueError(f"{name}: a number from 0 is needed, not {limit!r:.100}")
        if self.max_answer_age < MIN_ANSWER_AGE:
            raise ValueError(
                f"max_answer_age: {self.max_answer_age:g} seconds are too short: a page sends "
                f"again what it sent {MIN_ANSWER_AGE:g} seconds ago, and it would be done twice"
            )
