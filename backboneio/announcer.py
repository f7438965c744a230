"""Announcer: what is told of the changes to a backend's models, and to whom."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import json
from .json import JSONText
from .model import EVENT_OF, EVENTS, Change, Channel, Draft
from .request import READING, Notify, Request, channels, check_channel

logger = logging.getLogger("backboneio.backend")


class Announcer:
    """Makes the drafts of one backend: of what requests answer, and of what server code emits.

    :ivar publisher: says who is to be told of a change, where nobody else does; or None.
    :ivar observers: who is called in server code, by the event. They are replaced as a whole and
        never changed, so reading them needs no lock; whoever adds one holds the backend's.
    """

    def __init__(self) -> None:
        self.publisher: Callable[[Change], Iterable[str | None] | str | None] | None = None
        self.observers: dict[str, tuple[Callable[[Any], object], ...]] = {}

    def emitted(self, event: str, model: Any, channel: str | None) -> Draft:
        """Return the change that server code tells of; see :meth:`Backend.emit`.

        :raises ValueError: for an event that is none, and for NaN.
        :raises TypeError: for a model that does not go with the event, or cannot be JSON.
        """
        method = EVENTS.get(event)
        if method is None:
            raise ValueError(f"there is no event {event!r}: emit one of {', '.join(EVENTS)}")
        if method == "reset":
            if model is not None and not isinstance(model, (list, tuple)):
                raise TypeError(f"'reset' takes a list of models or None, not {model!r:.100}")
        elif not isinstance(model, Mapping):
            raise TypeError(f"{event!r} takes the model, a dict, not {model!r:.100}")
        check_channel(channel)
        if channel is None:
            return self._published(Draft.of(method, model))
        return Draft.of(method, model, channels=(channel,))

    def draft(
        self, req: Request, result: Any, text: JSONText, notify: Notify, whole: bool = False
    ) -> Draft | None:
        """Return the change that an answered request has made, or None when there is none to tell.

        :param text: *result* as JSON text.
        """
        method, channel, socket = req.method, req.channel, req.socket
        reads = method in READING
        if notify is None or (reads and isinstance(notify, bool)):
            return None
        origin = None if socket is None else socket.sid
        audience: tuple[Channel, ...] | None
        if notify is True:
            audience = None if origin is None and channel is None else (channel,)
        else:
            audience = notify or ()
        if not reads and not (isinstance(result, dict) and req.id_attribute in result):
            text = _completed(req, result, text)
        told_as = "update" if method == "patch" else method
        draft = Draft(told_as, text, audience, origin, channel, whole)
        return self._published(draft) if notify is True and self.publisher else draft

    def _published(self, draft: Draft) -> Draft:
        """Return a draft with the audience that the publisher chooses."""
        if self.publisher is None:
            return draft
        try:
            told = self.publisher(draft.at(0))
            return draft if told is None else draft._replace(channels=channels(told))
        except Exception:
            logger.exception("publish failed: %s is told to nobody", draft.method)
            return draft._replace(channels=())

    def add_observer(self, event: str, function: Callable[[Any], object]) -> None:
        """Call *function* with the model after every change that is *event*."""
        self.observers = {**self.observers, event: (*self.observers.get(event, ()), function)}

    def observe(self, draft: Draft) -> None:
        """Call those who observe the event of a change."""
        for function in self.observers.get(EVENT_OF.get(draft.method, ""), ()):
            try:
                function(draft.model)
            except Exception:
                logger.exception("an observer of %r failed", draft.method)


def _completed(req: Request, result: Any, text: JSONText) -> JSONText:
    """Return what others are told where the answer lacks the id: completed by the request."""
    if not isinstance(result, dict):
        return json.dumps(req.model)
    return json.dumps({**req.model, **result}) if req.id_attribute in req.model else text
