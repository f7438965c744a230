"""Backend: the middleware stack of one resource, and what server code does with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import EllipsisType
from typing import Any, TypeVar, overload

from . import forks, json
from .announcer import Announcer
from .answers import Answers, MemoryAnswers
from .application import no_context
from .attachments import Attachment, Attachments
from .errors import HandedError
from .execution import Context, execute
from .journal import Journal, MemoryJournal, checked_journal, checked_maker
from .limits import Limits
from .model import EVENTS, Draft, ModelId
from .request import Request, Response, Socket, check_channel
from .stack import Registered, Stack, methods_and_layer
from .stores.base import Store
from .strand import Strand
from .turns import LocalTurns, Turns

logger = logging.getLogger("backboneio.backend")

L = TypeVar("L", bound=Callable[..., object])


class Backend:
    """A stack of middleware layers that handles the sync requests of one resource.

    A layer is a callable of ``(req, res)``, ``(req, res, next)``, or ``(err, req, res, next)`` for
    errors, as in Connect. ``next()`` blocks: it returns when the rest of the stack is done. Layers
    may be added at any time and from any thread; requests under way keep the stack they began with.

    The order of its changes, the turns on its models and the memory of its answers are the
    backend's own: the applications on which it is served, under one name or several, share them.

    :param id_attribute: the key of a model's id, as ``idAttribute`` in Backbone. By default what
        the first ready-made store in the stack says, else ``"id"``.
    :param journal: where its changes are kept; by default what the application that serves it
        first says (``WSGIApp(..., journal=)``), else the memory of this process.
    :raises TypeError: for a journal that is none.

    :ivar journal: that journal; None while it has none of its own and is not served.
    :ivar strand: what everything that its clients are sent goes through, in one order.
    :ivar turns: the turns on its models.
    :ivar answers: the memory of what requests were answered with.
    """

    def __init__(self, id_attribute: str | None = None, *, journal: Journal | None = None) -> None:
        #: The key of a model's id.
        self.id_attribute = id_attribute or "id"
        self._id_attribute_is_known = id_attribute is not None
        self.journal = None if journal is None else checked_journal(journal)
        self._has_journal_of_its_own = journal is not None
        self.strand = Strand()
        self.turns: Turns = LocalTurns()
        self.answers: Answers = MemoryAnswers()
        # These are replaced as a whole and never changed: reading them needs no lock. Replacing
        # them takes ``_registering``, so that of two layers added at once none is lost.
        self._registering = threading.Lock()
        self._stack = Stack()
        self._announcer = Announcer()
        #: The change that an answered request has made: :meth:`Announcer.draft`.
        self.draft = self._announcer.draft
        self._attachments = Attachments(self.strand)
        #: Whether this process serves it: it answers requests, or a client has connected.
        self.is_served = False
        self._served_as: str | None = None  # the name under which it was served first
        self._has_warned = False
        self._limits: Limits | None = None  # those of the application that served it first
        forks.register(self)

    def after_fork(self) -> None:
        """Make the lock anew."""
        self._registering = threading.Lock()

    # The stack

    @overload
    def use(self, layer: L, /) -> L: ...

    @overload
    def use(self, *methods: str) -> Callable[[L], L]: ...

    @overload
    def use(self, method: str, /, *more: str | L) -> L: ...

    def use(self, *args: Any) -> Any:
        """Add a layer: ``use(layer)``, ``use("create", "update", layer)``, or as a decorator.

        :param args: the methods that the layer is for (default: all, ``listen`` included), then the
            layer. ``"write"`` stands for every method that changes something: ``create``,
            ``update``, ``patch``, ``delete`` and those of your own. Without a layer at the end a
            decorator is returned.
        :returns: the layer, so that ``@backend.use`` leaves a function as it was.
        :raises TypeError: for a layer that does not take two, three or four positional arguments,
            a class, an ``async`` function, or methods that are not strings.
        :raises ValueError: for the method ``reset``, which is what tells collections to fetch anew.
        """
        methods, layer = methods_and_layer(args)
        if layer is None:
            return lambda function: self.use(*methods, function)
        registered = Registered.of(layer, methods)
        declared = getattr(layer, "id_attribute", None)
        with self._registering:
            if isinstance(declared, str) and not self._id_attribute_is_known:
                self.id_attribute = declared
                self._id_attribute_is_known = True
            self._stack = Stack((*self._stack.layers, registered))
        self._bind(layer)
        if self._served_as is not None:
            self._warn_of(self._served_as, Stack((registered,)))
        return layer

    def _bind(self, layer: object) -> None:
        """Give a store the journal, when both are known."""
        if isinstance(layer, Store) and self.journal is not None:
            layer.bind(self.journal)

    def create(self, layer: L) -> L:
        """Add a layer for ``create`` requests; also as a decorator."""
        return self.use("create", layer)

    def read(self, layer: L) -> L:
        """Add a layer for ``read`` requests; also as a decorator."""
        return self.use("read", layer)

    def update(self, layer: L) -> L:
        """Add a layer for ``update`` requests; also as a decorator."""
        return self.use("update", layer)

    def patch(self, layer: L) -> L:
        """Add a layer for ``patch`` requests (``{patch: true}``); also as a decorator."""
        return self.use("patch", layer)

    def delete(self, layer: L) -> L:
        """Add a layer for ``delete`` requests; also as a decorator."""
        return self.use("delete", layer)

    def listen(self, layer: L) -> L:
        """Add a layer that decides who may hear a channel; also as a decorator.

        It sees ``req.method == "listen"`` and ``req.channel``; an error refuses the subscription.
        """
        return self.use("listen", layer)

    @property
    def layers(self) -> tuple[Registered, ...]:
        """The layers, in their order, each with its ``function`` and its ``methods``."""
        return self._stack.layers

    def knows(self, method: str) -> bool:
        """Whether *method* may be asked for: it is Backbone's, or a layer was registered for it."""
        return method in self._stack.known

    def handle(self, req: Request, res: Response) -> None:
        """Run *req* through the stack, on this thread.

        The bottom of the stack answers with ``req.model``, as the original did. An error, raised or
        handed to ``next(err)``, goes down to the next error layer. If none takes it, it is raised
        out of every ``next()`` on the way back up, so that a layer that opened a transaction sees
        it, and at last out of this method.

        :raises Exception: the error that no layer took.
        """
        self._stack.handle(req, res)

    # Server code

    def emit(self, event: str, model: Any = None, channel: str | None = None) -> None:
        """Tell clients that server code has changed a model; from any thread, at any time.

        :param event: ``"created"``, ``"updated"``, ``"deleted"``, or ``"reset"``.
        :param model: the model as it is now, a dict with its id. For ``"reset"`` the list of all
            models, or None to make every collection fetch anew.
        :param channel: tell the listeners of this channel only; with None those whom
            :meth:`publish` says, else everyone on the backend.
        :raises Unavailable: when the journal is away.
        :raises ValueError: for any other event, and for NaN.
        :raises TypeError: for a model that is not a dict or cannot be JSON.
        """
        self.announce(self._announcer.emitted(event, model, channel))

    def call(
        self,
        method: str,
        model: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        channel: str | None = None,
    ) -> Any:
        """Run a sync request from server code: the same stack, turns and announcements.

        ``req.socket`` is None in the layers. Inside a context of a Flask application that the
        backend is attached to the stack runs in that one; elsewhere it gets one of the application
        that the backend was attached to last.

        :param model: a dict, of which the layers get a copy; default ``{}``.
        :param channel: the channel of the request; with None a change is announced to everyone.
        :returns: what a layer gave to ``res.end``, as clients get it: plain JSON, with a date as
            the string that it is in a browser.
        :raises ValueError: for a method that is not Backbone's and that no layer is registered for.
        :raises TypeError: for a model, options or a channel of another type.
        :raises Exception: what a layer raised, or handed to ``next(err)`` or ``res.error(err)``;
            a :class:`SyncError` for what was handed on and is no exception.
        """
        if not self.knows(method):
            raise ValueError(f"there is no method {method!r:.100}: no layer is registered for it")
        for name, given in (("model", model), ("options", options)):
            if given is not None and not isinstance(given, Mapping):
                raise TypeError(f"{name} has to be a dict, not {given!r:.100}")
        check_channel(channel)
        attached = list(self._attachments)
        last = attached[-1] if attached else None
        within = next((one for one in attached if one.is_current()), last)
        req = Request(
            method,
            dict(model or {}),
            dict(options or {}),
            backend="" if within is None else within.name,
            channel=channel,
            id_attribute=self.id_attribute,
            turn=self.turns.hold,
        )
        context: Context = no_context if within is None else within.context
        outcome = execute(self, req, context)
        err = outcome.error
        if isinstance(err, HandedError) and isinstance(err.cause, Exception):
            raise err.cause from None
        if err is not None:
            raise err
        return json.loads(outcome.result or "null")

    @overload
    def on(self, event: str, function: L) -> L: ...

    @overload
    def on(self, event: str) -> Callable[[L], L]: ...

    def on(self, event: str, function: L | None = None) -> Any:
        """Observe changes in server code: ``on("created", fn)``, or as a decorator.

        *function* is called with the model after every change by clients, ``call`` or ``emit``, on
        the thread that made it: within its turn where a request did, and after the commit of a
        session whose changes the journal records. An exception in it is logged.

        :param event: ``"created"``, ``"updated"``, ``"deleted"`` or ``"reset"``.
        :raises ValueError: for any other event.
        """
        if event not in EVENTS:
            raise ValueError(f"there is no event {event!r}: observe one of {', '.join(EVENTS)}")
        if function is None:
            return lambda function: self.on(event, function)
        with self._registering:
            self._announcer.add_observer(event, function)
        return function

    def publish(self, function: L) -> L:
        """Decide who hears of a change: a function of the :class:`Change`, also as a decorator.

        It returns the channels to tell, None for the default (the channel of the request, or
        everyone for server code), or an empty list for nobody. ``res.end(..., notify=...)`` is
        stronger. A change whose function fails is told to nobody, and the failure is logged.
        """
        self._announcer.publisher = function  # type: ignore[assignment]
        return function

    def turn(self, model_id: ModelId) -> AbstractContextManager[object]:
        """Take the turn on a model: ``with backend.turn(7): ...; backend.emit(...)``.

        :raises Conflict: on entering, when it cannot be had within ``Limits.turn_timeout`` seconds.
        """
        return self.turns.hold(model_id)

    def sockets(self, channel: str | EllipsisType | None = ...) -> list[Socket]:
        """Return the clients that are connected to this process, or those that hear *channel*.

        :param channel: the name of a channel, or None for the one without a name; by default every
            client is returned, whatever it hears.
        """
        found = [socket for attached in self._attachments for socket in attached.clients()]
        if isinstance(channel, EllipsisType):
            return found
        return [socket for socket in found if socket.hears(channel)]

    def disconnect(self, predicate: Callable[[Socket], object]) -> int:
        """Disconnect the clients of this process for which *predicate* holds; return how many.

        Other processes keep theirs, whatever the journal: call it in each of them, or
        :func:`backboneio.disconnect_user`, which reaches all that share the journal.

        From then on they hear nothing and nothing that they ask is done: see
        :meth:`Socket.disconnect`. A client that connects meanwhile is not looked at: make the
        reason hold for handshakes, too, before you call this.
        """
        chosen = [socket for socket in self.sockets() if predicate(socket)]
        for socket in chosen:
            socket.disconnect()
        return len(chosen)

    # For what serves it (sync/) and runs its requests (execution.py)

    def attach(
        self,
        attachment: Attachment,
        limits: Limits | None = None,
        make_journal: Callable[[str], Journal] | None = None,
    ) -> None:
        """Deliver changes to *attachment* from now on, for as long as somebody holds it.

        :param limits: those of the backend, when no other application serves it already.
        :param make_journal: makes its journal when it has none. It is asked once for each
            application, since it may have to know of its database.
        :raises TypeError: when it cannot be called, or makes what is no journal.
        """
        made: Journal | None = None  # by user code, so under no lock
        asks = self._limits is None or self._attachments.had(attachment.name)
        make = None if make_journal is None else checked_maker(make_journal)
        if make is not None and asks and not self._has_journal_of_its_own:
            with attachment.context(None):  # it may look for the application's database
                made = checked_journal(make(attachment.name))
        with self._registering:
            self._attachments.add(attachment)
            first = self._limits is None
            if first:
                self._limits = self.turns.limits = limits or Limits()
                self.journal = self.journal or made or MemoryJournal(limits, self.strand)
                if limits is not None and hasattr(self.journal, "take_limits"):
                    self.journal.take_limits(limits)
                self.answers = getattr(self.journal, "answers", None) or MemoryAnswers(limits)
        if first:
            self._begin(attachment.name)
            return
        if made is not None and made is not self.journal:
            logger.warning(
                "backend %r is served already, and keeps the journal that it has: make backend and "
                "journal in one place, both with the application or both before it",
                attachment.name,
            )
        if limits is not None and limits != self._limits:
            logger.warning(
                "backend %r is served already: its journal, turns and answers keep the limits of "
                "the application that served it first",
                attachment.name,
            )

    def _begin(self, name: str) -> None:
        """Do what the first application that serves it, under that name, makes possible."""
        journal, attachments = self.journal, self._attachments
        assert journal is not None
        on_strand = isinstance(journal, MemoryJournal) and journal.strand is self.strand
        journal.follow(attachments.deliver if on_strand else attachments.post)
        journal.observe(self._announcer.observe)
        for layer in self._stack.layers:
            self._bind(layer.function)
        self._warn_of(name, self._stack)
        self._served_as = name

    def _warn_of(self, name: str, stack: Stack) -> None:
        for doubt in stack.doubts():
            logger.warning("backend %r: %s", name, doubt)

    def announce(self, draft: Draft, token: object = None) -> None:
        """Give a change that was made its place in the journal, and tell the observers.

        :raises Unavailable: when the journal is away; then nobody is told.
        """
        if self.journal is not None:
            self.journal.append(draft, token)
        if not self.is_served and not self._has_warned:
            self._warn_that_nobody_hears()
        if self._announcer.observers:
            self._announcer.observe(draft)

    def _warn_that_nobody_hears(self) -> None:
        """Say once that the clients of other processes are not told."""
        if self.journal is not None and not isinstance(self.journal, MemoryJournal):
            return  # they are
        self._has_warned = True
        logger.warning(
            "a change is told to nobody: no client has ever connected to this process, and the "
            "journal is in its memory. If clients are served by another process (and this is a "
            "shell, a cron job, a task queue, say), give both a journal that they share"
        )


def create_backend(id_attribute: str | None = None, *, journal: Journal | None = None) -> Backend:
    """Return a new :class:`Backend`; the original's name for it."""
    return Backend(id_attribute, journal=journal)
