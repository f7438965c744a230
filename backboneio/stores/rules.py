"""Rules: what a request may make of a row, before the database is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import Conflict, Forbidden
from ..model import Channel
from ..request import Request
from .rows import Rows, Values, invalid


def new_values(
    rows: Rows, needs: Iterable[str], model: Mapping[str, Any], channel: Channel
) -> dict[str, Any]:
    """Return the columns' values for a new row, which is on *channel* if it does not say.

    :param needs: what the class cannot be made without.
    :raises Invalid: naming the fields that are wrong.
    """
    values = rows.load(model)
    wrong = {}
    if values.get(rows.id_attribute, 0) is None:  # a new model in Backbone may have id: null
        del values[rows.id_attribute]
    if rows.key_is_given and rows.id_attribute in values:
        wrong[rows.id_attribute] = "is given by the database"
    for name in list(values):
        if not rows.fields[name].writable or name == rows.version_name:
            if values.pop(name) not in (None, []):
                wrong[name] = rows.refusal(name)
    rows.place(values, channel)
    for name in needs:
        if name in rows.fields and name not in values:
            wrong.setdefault(name, "is needed")
    if wrong:
        raise invalid(wrong)
    return values


def check_version(rows: Rows, row: Values, values: Values) -> None:
    """See that *values* are a change of *row* as it is.

    :raises Conflict: when they are one of another version.
    """
    name = rows.version_name
    if name is not None and name in values and not rows.is_same(name, values[name], row[name]):
        raise stale(rows, row)


def check_changes(rows: Rows, row: Values, values: Values) -> None:
    """See that *values* change of *row* only what clients may write; others may come as they are.

    :raises Invalid: naming the fields that are wrong.
    """
    wrong = {}
    for name, value in values.items():
        unchanged = name in row and rows.is_same(name, row[name], value)
        if name in rows.key_names and not unchanged:
            wrong[name] = "is part of the key, which does not change"
        elif name in rows.fields and not rows.fields[name].writable and not unchanged:
            wrong[name] = rows.refusal(name)
    if wrong:
        raise invalid(wrong)


def stale(rows: Rows, row: Values | None) -> Conflict:
    """Return the error for a change of what is no longer so: *row* is what it is now, if at all."""
    if row is None:
        return Conflict("the model was deleted meanwhile")
    return Conflict("the model was changed meanwhile", model=rows.dump(row))


def sees_all(req: Request) -> bool:
    """Whether a request is for the rows of all channels: server code that names none."""
    return req.socket is None and req.channel is None


def is_on_channel(rows: Rows, req: Request, row: Values) -> bool:
    """Whether a request reaches a row."""
    return sees_all(req) or rows.channel(row) == req.channel


def check_channel(
    rows: Rows, req: Request, row: Values, before: Values | None, moves_are_told: bool
) -> None:
    """See that a request may put a row on the channel that it would be on.

    :param moves_are_told: whether the listeners of both channels hear of a row that moves.
    :raises Forbidden: when it may not.
    """
    channel = rows.channel(row)
    moves = before is not None and channel != rows.channel(before)
    if moves and not moves_are_told:
        raise Forbidden(
            "the model would move to another channel, whose listeners would not be told: "
            "only backboneio.SQLJournal tells both"
        )
    if sees_all(req) or channel == req.channel:
        return
    if moves and req.socket is not None and req.socket.hears(channel):
        return
    if not rows.has_channels:
        raise Forbidden("channel: all models are on the channel without a name")
    raise Forbidden("channel: the model would be on another channel than the request")
