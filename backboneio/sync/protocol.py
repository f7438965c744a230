"""The wire protocol: what clients send, parsed; and the JSON text of what they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import json
from ..errors import BadRequest
from ..json import JSONText, quote
from ..limits import Limits
from ..model import Change, Channel
from ..plain import NotJSON, check, json_type

#: The events that a client sends; each is a method of ``Sync``.
EVENTS = ("sync", "listen", "leave")

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


class ListenArguments(NamedTuple):
    """The argument of ``listen``.

    :ivar since: (epoch, rev) of the last change that the client has seen, or None.
    :ivar client: what the client's request ids are remembered under, or None.
    :ivar unanswered: the ids of the requests that it has sent and has no answer to, or None when
        it does not say.
    """

    channel: Channel
    since: tuple[str, int] | None = None
    client: str | None = None
    unanswered: list[str] | None = None


@dataclass(slots=True)
class SyncArguments:
    """The argument of ``sync``; ``names_channel`` is False in the classic form, which does not."""

    method: str
    model: dict[str, Any]
    options: dict[str, Any]
    channel: Channel
    names_channel: bool
    id: str | None


def parse_listen(args: Sequence[Any], limits: Limits) -> ListenArguments:
    """Parse ``listen``: a channel, null, or ``{channel, since?, client?, unanswered?}``.

    :raises BadRequest: naming the field that is wrong.
    """
    given = args[0] if args else None
    if not isinstance(given, dict):
        return ListenArguments(parse_channel(given, limits))
    return ListenArguments(
        parse_channel(given.get("channel"), limits),
        _parse_since(given.get("since")),
        _parse_client(given.get("client")),
        _parse_unanswered(given.get("unanswered"), limits),
    )


def _parse_since(since: Any) -> tuple[str, int] | None:
    if since is None:
        return None
    if not isinstance(since, dict):
        raise BadRequest(f"since: must be {{epoch, rev}}, not {json_type(since)}")
    epoch, rev = since.get("epoch"), since.get("rev")
    if not isinstance(epoch, str):
        raise BadRequest(f"since.epoch: must be a string, not {json_type(epoch)}")
    if not isinstance(rev, int) or isinstance(rev, bool) or rev < 0:
        shown = rev if isinstance(rev, (int, float)) else json_type(rev)
        raise BadRequest(f"since.rev: must be a whole number from 0, not {shown}")
    return epoch, rev


def _parse_client(client: Any) -> str | None:
    if client is not None and (
        not isinstance(client, str) or not MIN_CLIENT <= len(client) <= MAX_CLIENT
    ):
        raise BadRequest(
            f"client: must be a random string of {MIN_CLIENT} to {MAX_CLIENT} characters"
        )
    return client


def _parse_unanswered(ids: Any, limits: Limits) -> list[str] | None:
    if ids is None:
        return None
    if not isinstance(ids, list):
        raise BadRequest(f"unanswered: must be a list, not {json_type(ids)}")
    if len(ids) > limits.max_answers:
        raise BadRequest(f"unanswered: at most {limits.max_answers} ids, not {len(ids)}")
    return [_parse_name("unanswered", one, limits) for one in ids]


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
    method = given.get("method")
    if not isinstance(method, str) or not 0 < len(method) <= limits.max_name_length:
        raise _not_a_name("method", method, limits)
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
        check(model, "model")
        if options:
            check(options, "options")
    except NotJSON as err:
        raise BadRequest(str(err)) from None
    model_id = model.get(id_attribute)
    if model_id is not None and type(model_id) is not int:
        _check_model_id(model_id, id_attribute, limits.max_id_length)
    request_id, channel = given.get("id"), given.get("channel")
    if request_id is not None:
        _parse_name("id", request_id, limits)
    if channel is not None:
        _parse_name("channel", channel, limits)
    return SyncArguments(method, model, options, channel, "channel" in given, request_id)


def parse_channel(channel: Any, limits: Limits) -> Channel:
    """Parse the name of a channel; null is the channel without a name."""
    return None if channel is None else _parse_name("channel", channel, limits)


def _parse_name(field: str, name: Any, limits: Limits) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= limits.max_name_length:
        raise _not_a_name(field, name, limits)
    return name


def _not_a_name(field: str, name: Any, limits: Limits) -> BadRequest:
    if not isinstance(name, str):
        return BadRequest(f"{field}: must be a string, not {json_type(name)}")
    if not name:
        return BadRequest(f"{field}: must not be empty")
    return BadRequest(f"{field}: at most {limits.max_name_length} characters, not {len(name)}")


def _check_model_id(model_id: Any, key: str, max_length: int) -> None:
    if isinstance(model_id, str):
        if len(model_id) > max_length:
            raise BadRequest(f"model.{key}: at most {max_length} characters, not {len(model_id)}")
        if model_id in INHERITED:
            raise BadRequest(f"model.{key}: {model_id!r} is a property of every JavaScript object")
    elif isinstance(model_id, bool) or not isinstance(model_id, (int, float)):
        raise BadRequest(f"model.{key}: must be a string or a number, not {json_type(model_id)}")


def change_text(change: Change, to: tuple[Channel] | None) -> JSONText:
    """Return the JSON of ``[method, model, meta]``.

    :param to: the channel whose listeners are told; None for a change that everyone is told of.
    """
    meta = f'{{"rev":{change.rev}'
    if to is not None:
        meta += ',"channel":null' if to[0] is None else f',"channel":{quote(to[0])}'
    whole = ',"whole":true' if change.whole else ""
    return JSONText(f"[{quote(change.method)},{change.text},{meta}{whole}}}]")


def synced_text(change: Change, to: tuple[Channel] | None) -> JSONText:
    """Return the JSON of the event ``synced``."""
    return JSONText('["synced",' + change_text(change, to)[1:])


def answer_text(result: JSONText, rev: int, epoch: str, whole: bool = False) -> JSONText:
    """Return the JSON of the ack of a request."""
    more = ',"whole":true' if whole else ""
    return JSONText(f'[null,{result},{{"rev":{rev},"epoch":"{epoch}"{more}}}]')


def listening_text(accepted: dict[str, Any], missed: Sequence[JSONText] | None) -> JSONText:
    """Return the JSON of the ack of ``listen``.

    :param missed: the changes that the client has missed, as of :func:`change_text`; None when that
        is not known, or it did not ask.
    """
    text = json.dumps(accepted)
    if missed is not None:
        return JSONText(f'[{text[:-1]},"missed":[{",".join(missed)}]}}]')
    return JSONText(f"[{text}]")
