"""The wire protocol: what clients send, parsed; and the JSON text of what they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from . import json
from .attached import Change
from .errors import BadRequest
from .json import json_type
from .limits import Limits

#: Characters of the secret that a client's request ids are remembered under.
MIN_CLIENT, MAX_CLIENT = 16, 128

#: What every object in JavaScript has. Backbone keeps models by id in one, and would take these
#: for models: whoever fetches a model with such an id cannot fetch any more.
INHERITED = frozenset(
    (
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
    )
)

Channel = str | None


class ListenArguments(NamedTuple):
    """The argument of ``listen``.

    :ivar since: (epoch, rev) of the last change that the client has seen, or None.
    :ivar client: what the client's request ids are remembered under, or None.
    """

    channel: Channel
    since: tuple[str, int] | None
    client: str | None


class SyncArguments(NamedTuple):
    """The argument of ``sync``; ``names_channel`` is False in the classic form, which does not."""

    method: str
    model: dict[str, Any]
    options: dict[str, Any]
    channel: Channel
    names_channel: bool
    id: str | None


def parse_listen(args: Sequence[Any], limits: Limits) -> ListenArguments:
    """Parse ``listen``: a channel, null, or ``{channel, since?: {epoch, rev}, client?}``.

    :raises BadRequest: naming the field that is wrong.
    """
    given = args[0] if args else None
    if not isinstance(given, dict):
        return ListenArguments(parse_channel(given, limits), None, None)
    channel = parse_channel(given.get("channel"), limits)
    since, client = given.get("since"), given.get("client")
    seen = None
    if since is not None:
        if not isinstance(since, dict):
            raise BadRequest(f"since: must be {{epoch, rev}}, not {json_type(since)}")
        epoch, rev = since.get("epoch"), since.get("rev")
        if not isinstance(epoch, str):
            raise BadRequest(f"since.epoch: must be a string, not {json_type(epoch)}")
        if not isinstance(rev, int) or isinstance(rev, bool) or rev < 0:
            shown = rev if isinstance(rev, (int, float)) else json_type(rev)
            raise BadRequest(f"since.rev: must be a whole number from 0, not {shown}")
        seen = (epoch, rev)
    if client is not None and (
        not isinstance(client, str) or not MIN_CLIENT <= len(client) <= MAX_CLIENT
    ):
        raise BadRequest(
            f"client: must be a random string of {MIN_CLIENT} to {MAX_CLIENT} characters"
        )
    return ListenArguments(channel, seen, client)


def parse_sync(args: Sequence[Any], limits: Limits, id_attribute: str) -> SyncArguments:
    """Parse ``sync``: ``{method, model, options, channel?, id?}``.

    :param id_attribute: the key of a model's id.
    :raises BadRequest: naming the field that is wrong.
    """
    given = args[0] if args else None
    if not isinstance(given, dict):
        raise BadRequest(
            f"sync: must be an object {{method, model, options}}, not {json_type(given)}"
        )
    method = _parse_name("method", given.get("method"), limits)
    model, options = given.get("model", {}), given.get("options")
    if method == "read" and isinstance(model, list):
        model = {}  # the original's browser code sent a collection's models when it read them
    if not isinstance(model, dict):
        raise BadRequest(f"model: must be an object, not {json_type(model)}")
    if options is None:
        options = {}
    elif not isinstance(options, dict):
        raise BadRequest(f"options: must be an object, not {json_type(options)}")
    try:
        json.check(model, "model")
        json.check(options, "options")
    except json.NotJSON as err:
        raise BadRequest(str(err)) from None
    _check_model_id(model.get(id_attribute), id_attribute, limits.max_id_length)
    request_id = given.get("id")
    if request_id is not None:
        request_id = _parse_name("id", request_id, limits)
    channel = parse_channel(given.get("channel"), limits)
    return SyncArguments(method, model, options, channel, "channel" in given, request_id)


def parse_channel(channel: Any, limits: Limits) -> Channel:
    """Parse the name of a channel; null is the channel without a name."""
    return None if channel is None else _parse_name("channel", channel, limits)


def _parse_name(field: str, name: Any, limits: Limits) -> str:
    if not isinstance(name, str):
        raise BadRequest(f"{field}: must be a string, not {json_type(name)}")
    if not name:
        raise BadRequest(f"{field}: must not be empty")
    if len(name) > limits.max_name_length:
        raise BadRequest(f"{field}: at most {limits.max_name_length} characters, not {len(name)}")
    return name


def _check_model_id(model_id: Any, key: str, max_length: int) -> None:
    if isinstance(model_id, str):
        if len(model_id) > max_length:
            raise BadRequest(f"model.{key}: at most {max_length} characters, not {len(model_id)}")
        if model_id in INHERITED:
            raise BadRequest(f"model.{key}: {model_id!r} is a property of every JavaScript object")
    elif model_id is not None and (
        isinstance(model_id, bool) or not isinstance(model_id, (int, float))
    ):
        raise BadRequest(f"model.{key}: must be a string or a number, not {json_type(model_id)}")


def change_text(change: Change, to: tuple[Channel] | None) -> str:
    """Return the JSON of ``[method, model, meta]``.

    :param to: the channel whose listeners are told; None for a change that everyone is told of.
    """
    channel = "" if to is None else f',"channel":{json.dumps(to[0])}'
    return f'[{json.dumps(change.method)},{change.text},{{"rev":{change.rev}{channel}}}]'


def synced_text(change: Change, to: tuple[Channel] | None) -> str:
    """Return the JSON of the event ``synced``."""
    return '["synced",' + change_text(change, to)[1:]


def answer_text(result: str, rev: int, epoch: str) -> str:
    """Return the JSON of the ack of a request; *result* is JSON already."""
    return f'[null,{result},{{"rev":{rev},"epoch":"{epoch}"}}]'
