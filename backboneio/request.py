"""Request, Response, Socket: what a middleware layer is handed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import EnvironHeaders

from . import json
from .errors import SyncError, handed
from .json import JSONText
from .model import Channel, Draft, ModelId, Outcome

#: Whom to tell of a change: True for the default, False for nobody, else these channels; None where
#: nothing was changed.
Notify = bool | tuple[Channel, ...] | None

#: What a layer is handed as ``next``: it runs the rest of the stack, or the error layers of it.
Next = Callable[..., None]

#: The methods that Backbone itself sends.
CRUD = ("create", "read", "update", "patch", "delete")


#: The methods that change nothing; all others do.
READING = frozenset(("read", "listen"))


class Socket:
    """One client's connection to one backend, as ``req.socket``.

    :ivar sid: the Socket.IO session id of the client in the backend's namespace.
    :ivar environ: the WSGI environment of the handshake.
    :ivar auth: what the client gave as ``auth`` when it connected, or None.
    """

    __slots__ = ()

    sid: str
    environ: dict[str, Any]
    auth: Any

    @property
    def headers(self) -> EnvironHeaders:
        """The headers of the handshake, e.g. ``req.socket.headers["Cookie"]``."""
        return EnvironHeaders(self.environ)

    def emit(self, event: str, *args: Any) -> None:
        """Send a Socket.IO event of your own to this client. Never blocks."""
        raise NotImplementedError

    def join(self, channel: str | None) -> None:
        """Let the client hear *channel* from now on, as if it had listened to it."""
        raise NotImplementedError

    def leave(self, channel: str | None, err: SyncError | None = None) -> None:
        """Take the client out of *channel*: it hears nothing more of it, and is told so.

        So is one that layers are just about to let in. It hears the channel, and may write to it,
        when it has listened to it anew and was accepted.

        :param err: the reason, which the collections in the browser trigger as ``error``.
        """
        raise NotImplementedError

    def hears(self, channel: str | None) -> bool:
        """Whether the client hears *channel*."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Close the client's connection: from now on it hears nothing, and nothing it asks is done.

        What it has asked before and waits for its turn is not done either. It comes back only by a
        new handshake, with the cookies that it has then.
        """
        raise NotImplementedError


class Request:
    """A sync request on its way through the stack. Layers may add attributes of their own.

    :ivar method: ``create``, ``read``, ``update``, ``patch``, ``delete``, ``listen`` or your own.
    :ivar model: the model as the client sent it, a dict; for a read of the whole collection ``{}``.
    :ivar options: the options given to Backbone in the browser, as far as they are JSON.
    :ivar backend: the name of the backend.
    :ivar channel: the channel, or None for the one without a name.
    :ivar socket: the client, or None when server code called.
    :ivar id: the client's own id for the request, or None.
    :ivar id_attribute: the key of a model's id, ``"id"`` unless the backend says otherwise.
    """

    def __init__(
        self,
        method: str,
        model: dict[str, Any],
        options: dict[str, Any] | None = None,
        backend: str = "",
        channel: str | None = None,
        socket: Socket | None = None,
        id: str | None = None,
        id_attribute: str = "id",
        turn: Callable[[ModelId, object], AbstractContextManager[object]] | None = None,
    ) -> None:
        self.method = method
        self.model = model
        self.options = {} if options is None else options
        self.backend = backend
        self.channel = channel
        self.socket = socket
        self.id = id
        self.id_attribute = id_attribute
        self._turn = turn

    def __getattr__(self, name: str) -> Any:  # called only for what is not there
        raise AttributeError(f"no layer has set req.{name}")

    if TYPE_CHECKING:  # layers add what they like

        def __setattr__(self, name: str, value: Any) -> None: ...

    def turn(self, model_id: ModelId) -> AbstractContextManager[object]:
        """Take the turn on a model whose id became known only inside the stack.

        While a ``with req.turn(id):`` block runs, no other request changes the model with that id.
        A store that learns the id as it inserts takes the turn before it commits, and calls
        ``res.end`` inside, so that the order of announcements is that of commits (guarantee G2).
        Updates, patches and deletes hold the turn of ``req.model``'s id already; taking it again is
        free.

        :raises Conflict: when another request holds the turn for longer than
            ``Limits.turn_timeout`` seconds.
        """
        return nullcontext() if self._turn is None else self._turn(model_id, self)


#: Takes the outcome of a request; called once.
Settle = Callable[[Outcome], object]

#: Makes the change, if there is one to tell, of what a layer answered: the result, also as JSON,
#: whom to tell, and whether the result is the whole row.
DraftOf = Callable[[Any, JSONText, Notify, bool], Draft | None]


def _no_change(result: Any, text: JSONText, notify: Notify, whole: bool) -> None:
    return None


class Response:
    """The answer to a request: the first call of :meth:`end` or :meth:`error` is it.

    :ivar ended: whether there is an answer.
    :ivar failure: the error that is the answer, or None.
    """

    def __init__(self, settle: Settle, draft_of: DraftOf = _no_change) -> None:
        self._settle = settle
        self._draft_of = draft_of
        self._unanswered = threading.Lock()  # taken for good by the first answer
        self.ended = False
        self.failure: BaseException | None = None

    def end(
        self,
        result: Any = None,
        *,
        notify: bool | str | Iterable[str | None] = True,
        whole: bool = False,
        changed: bool = True,
        text: JSONText | None = None,
    ) -> None:
        """Answer with *result*, and tell the other clients of the change that was made.

        The answer to a change should be the whole model as it is stored now, with its id: it is
        what the other clients receive. Call it where the change was committed: announcements go
        out in the order of these calls.

        :param result: any JSON value; dates, ``Decimal``, ``UUID`` and dataclasses are converted.
        :param notify: False tells nobody, a channel or a list of channels tells those instead of
            the request's own. ``read`` and ``listen`` tell nobody unless channels are named.
        :param whole: whether *result* is the whole row (or a list of whole rows), so that an
            attribute which is not in it, and which the server sent before, is gone.
        :param changed: False when the request turned out to change nothing: nobody is told, and the
            client's answer is as that to a read.
        :param text: *result* as JSON text, of :func:`backboneio.json.dumps`, where the layer has
            that already.
        :raises TypeError: when *result* cannot be JSON, or *notify* is none of these; the request
            is then still unanswered.
        """
        if self.ended:
            return
        if text is None:
            text = json.dumps(result, "result")
        told = notify if isinstance(notify, bool) else channels(notify)
        draft = self._draft_of(result, text, told if changed else None, whole)
        self._answer(Outcome(text, None, draft, whole))

    def error(self, err: object) -> None:
        """Answer with an error: a :class:`SyncError`, any exception, a string or a dict.

        Name, message and public attributes of it reach the client.
        """
        self.fail(handed(err))

    def fail(self, err: BaseException) -> None:
        """Answer with an exception that nobody handed on: clients see it only when they may."""
        self._answer(Outcome(error=err))

    def _answer(self, outcome: Outcome) -> None:
        if self._unanswered.acquire(blocking=False):
            self.ended = True
            self.failure = outcome.error
            self._settle(outcome)


def check_channel(channel: object) -> None:
    """Let the name of a channel pass, or None.

    :raises TypeError: for anything else.
    """
    if channel is not None and not isinstance(channel, str):
        raise TypeError(f"a channel is a string, not {channel!r:.100}")


def channels(chosen: str | Iterable[str | None]) -> tuple[str | None, ...]:
    """Return one channel or several as a tuple without repetitions.

    :raises TypeError: for anything that is no channel.
    """
    several = (chosen,) if isinstance(chosen, str) else tuple(dict.fromkeys(chosen))
    for channel in several:
        if channel is not None and not isinstance(channel, str):
            raise TypeError(f"a channel is a string or None, not {channel!r:.100}")
    return several
