"""Draft, Change, Outcome, ModelId: the words that everything here speaks."""

from __future__ import annotations

import dataclasses
import decimal
from typing import Any, NamedTuple

from . import json
from .json import JSONText

#: The id of a model: what JSON and Backbone allow for one.
ModelId = str | int | float

#: The name of a channel; None is the channel without a name.
Channel = str | None

#: The events of ``emit`` and ``on``, and the methods that announce them to clients.
EVENTS = {"created": "create", "updated": "update", "deleted": "delete", "reset": "reset"}
#: The event that each of these methods is, as a user writes it.
EVENT_OF = {method: event for event, method in EVENTS.items()} | {"patch": "updated"}


def id_key(model_id: ModelId) -> str:
    """Return what names a model in a dictionary: 1, 1.0 and "1" are one id to Backbone.

    It is the string that JavaScript makes of the id (``Number::toString`` of ECMA-262), since
    Backbone keeps models under that.
    """
    if not isinstance(model_id, float):
        return str(model_id)
    if 1e-6 <= abs(model_id) < 1e21 or not model_id:
        text = f"{decimal.Decimal(repr(model_id or 0.0)):f}"
        return text.removesuffix(".0")
    return repr(model_id).replace("e-0", "e-")


class Draft(NamedTuple):
    """Something that happened to a model, before the journal has given it its place.

    :ivar method: how it is announced: ``create``, ``update``, ``delete``, ``reset`` or a custom
        method (a ``patch`` is announced as ``update``).
    :ivar text: the model, as JSON text.
    :ivar channels: the channels that are told; None for everyone, empty for nobody.
    :ivar origin: the sid of the socket that made it, which gets the ack instead; or None.
    :ivar channel: the channel of the request that made it, or None.
    :ivar whole: whether the model is the whole row, so that what it lacks is gone.
    :ivar rev: 0, since it has no place yet.
    """

    method: str
    text: JSONText
    channels: tuple[Channel, ...] | None = None
    origin: str | None = None
    channel: Channel = None
    whole: bool = False
    rev: int = 0

    @classmethod
    def of(cls, method: str, model: Any, **fields: Any) -> Draft:
        """Return the draft of a change of *model*, which is encoded here; *fields* as above.

        :raises TypeError: when *model* cannot be JSON.
        :raises ValueError: the same, for NaN and infinities.
        """
        return cls(method, json.dumps(model, "model"), **fields)

    @property
    def model(self) -> Any:
        """The model, decoded anew every time: nobody can change what others are told."""
        return json.loads(self.text)

    def at(self, rev: int) -> Change:
        """Return the change that this becomes at *rev*."""
        return tuple.__new__(Change, (*self[:-1], rev))

    def told(self, channel: Channel) -> bool:
        """Whether the listeners of *channel* are told of it."""
        return self.channels is None or channel in self.channels


class Change(Draft):
    """Something that happened to a model, at its place in the order of all changes of a backend.

    :ivar rev: that place: 1 for the first change; 0 while it has none yet (in ``@publish``, say).
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Change {self.rev} {self.method} {self.text:.60} to {self.channels}>"


@dataclasses.dataclass(slots=True)
class Outcome:
    """How a request ended.

    :ivar result: what it is answered with, as JSON text; None when it failed.
    :ivar error: why it failed, or None.
    :ivar draft: the change that it made, or None when there is none to tell.
    :ivar whole: whether the result is the whole row, or a list of such.
    """

    result: JSONText | None = None
    error: BaseException | None = None
    draft: Draft | None = None
    whole: bool = False
