"""Backend: the middleware stack of one resource, and what server code does with it."""

from __future__ import annotations

import inspect
import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar, overload

from .attached import Change
from .errors import HandedError, handed
from .model import ModelId
from .request import CRUD, Notify, Request, Response, channels

logger = logging.getLogger("backboneio.backend")

Layer = Callable[..., object]
L = TypeVar("L", bound=Callable[..., object])

#: The events of ``emit`` and ``on``, and the methods that announce them to clients.
EVENTS = {"created": "create", "updated": "update", "deleted": "delete", "reset": "reset"}
_EVENT_OF = {method: event for event, method in EVENTS.items()} | {"patch": "updated"}


class Attachment(Protocol):
    """What a backend knows of the applications it is attached to (``sync.Sync``)."""

    name: str

    def publish(self, change: Change) -> None:
        """Put a change into the journal and tell the listeners."""

    def turn(self, model_id: ModelId) -> AbstractContextManager[object]:
        """Wait for the turn on a model."""

    def context(self, environ: dict[str, Any] | None) -> AbstractContextManager[object]:
        """The application context that a stack runs in."""

    def is_current(self) -> bool:
        """Whether this thread is in a context of the application."""


class _Registered(NamedTuple):
    function: Layer
    methods: frozenset[str] | None  # None: all
    takes_error: bool
    takes_next: bool

    def serves(self, method: str) -> bool:
        return self.methods is None or method in self.methods


class _Stack:
    """The layers as they are between two registrations."""

    __slots__ = ("_serving", "layers")

    def __init__(self, layers: tuple[_Registered, ...]) -> None:
        self.layers = layers
        self._serving: dict[str, tuple[_Registered, ...]] = {}

    def knows(self, method: str) -> bool:
        return method in CRUD or (
            method != "listen"
            and any(layer.methods is not None and method in layer.methods for layer in self.layers)
        )

    def serving(self, method: str) -> tuple[_Registered, ...]:
        """Return the layers for *method*; worked out once."""
        layers = self._serving.get(method)
        if layers is None:
            layers = tuple(layer for layer in self.layers if layer.serves(method))
            if self.knows(method) or method == "listen":  # a name made up is not kept
                self._serving[method] = layers
        return layers


class Backend:
    """A stack of middleware layers that handles the sync requests of one resource.

    A layer is a callable of ``(req, res)``, ``(req, res, next)``, or ``(err, req, res, next)`` for
    errors, as in Connect. ``next()`` blocks: it returns when the rest of the stack is done. Layers
    may be added at any time and from any thread; requests under way keep the stack they began with.

    :param id_attribute: the key of a model's id, as ``idAttribute`` in Backbone. By default what
        the first ready-made store in the stack says, else ``"id"``.
    """

    def __init__(self, id_attribute: str | None = None) -> None:
        #: The key of a model's id.
        self.id_attribute = id_attribute or "id"
        self._id_attribute_is_known = id_attribute is not None
        # These are replaced as a whole and never changed: reading them needs no lock. Replacing
        # them takes ``_registering``, so that of two layers added at once none is lost.
        self._registering = threading.Lock()
        self._stack = _Stack(())
        self._observers: dict[str, tuple[Callable[[Any], object], ...]] = {}
        self._publisher: Callable[[Change], Iterable[str | None] | str | None] | None = None
        self._attachments: tuple[weakref.ref[Any], ...] = ()  # oldest first

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
            layer. Without a layer at the end a decorator is returned.
        :returns: the layer, so that ``@backend.use`` leaves a function as it was.
        :raises TypeError: for a layer that does not take two, three or four positional arguments,
            a class, an ``async`` function, or methods that are not strings.
        """
        if args and callable(args[-1]):
            *methods, layer = args
        else:
            methods, layer = list(args), None
        for method in methods:
            if not isinstance(method, str) or not method:
                raise TypeError(f"a method is a name such as 'create', not {method!r}")
        if layer is None:
            if not methods:
                raise TypeError("use() takes a layer, or methods and a layer")
            return lambda function: self.use(*methods, function)
        served = methods or getattr(layer, "methods", None)
        if not isinstance(served, (tuple, list, set, frozenset)):
            served = None
        takes_error, takes_next = _parameters(layer)
        registered = _Registered(
            layer, None if served is None else frozenset(served), takes_error, takes_next
        )
        declared = getattr(layer, "id_attribute", None)
        with self._registering:
            if isinstance(declared, str) and not self._id_attribute_is_known:
                self.id_attribute = declared
                self._id_attribute_is_known = True
            self._stack = _Stack((*self._stack.layers, registered))
        return layer

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

    def knows(self, method: str) -> bool:
        """Whether *method* may be asked for: it is Backbone's, or a layer was registered for it."""
        return self._stack.knows(method)

    def handle(self, req: Request, res: Response) -> None:
        """Run *req* through the stack, on this thread.

        The bottom of the stack answers with ``req.model``, as the original did. An error, raised or
        handed to ``next(err)``, goes down to the next error layer. If none takes it, it is raised
        out of every ``next()`` on the way back up, so that a layer that opened a transaction sees
        it, and at last out of this method.

        :raises Exception: the error that no layer took.
        """
        _Descent(self._stack.serving(req.method), req, res).go(0, None)

    # Server code

    def emit(self, event: str, model: Any = None, channel: str | None = None) -> None:
        """Tell clients that server code has changed a model; from any thread, at any time.

        :param event: ``"created"``, ``"updated"``, ``"deleted"``, or ``"reset"``.
        :param model: the model as it is now, a dict with its id. For ``"reset"`` the list of all
            models, or None to make every collection fetch anew.
        :param channel: tell the listeners of this channel only; None tells everyone on the backend.
        :raises ValueError: for any other event, and for NaN.
        :raises TypeError: for a model that is not a dict or cannot be JSON.
        """
        method = EVENTS.get(event)
        if method is None:
            raise ValueError(f"there is no event {event!r}: emit one of {', '.join(EVENTS)}")
        if method == "reset":
            if model is not None and not isinstance(model, (list, tuple)):
                raise TypeError(f"'reset' takes a list of models or None, not {model!r:.100}")
        elif not isinstance(model, Mapping):
            raise TypeError(f"{event!r} takes the model, a dict, not {model!r:.100}")
        _check_channel(channel)
        audience = None if channel is None else (channel,)
        self._announce(Change.of(method, model, channels=audience, channel=channel))

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
        :returns: what a layer gave to ``res.end``.
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
        _check_channel(channel)
        attached = self._attached()
        # An application that came earlier may be gone but for the garbage collection.
        last = attached[-1] if attached else None
        within = next((one for one in attached if one.is_current()), last)
        settled: list[tuple[BaseException | None, Any]] = []

        def settle(err: BaseException | None, result: Any, text: str, notify: Notify) -> None:
            if err is None:
                try:
                    change = self.change(req, result, text, notify)
                except Exception as unannounced:
                    settled.append((unannounced, None))
                    return
                if change is not None:
                    self._announce(change)
            settled.append((err, result))

        req = Request(
            method,
            dict(model or {}),
            dict(options or {}),
            backend="" if within is None else within.name,
            channel=channel,
            id_attribute=self.id_attribute,
            turn=self.turn,
        )
        try:
            with ExitStack() as stack:
                if within is not None:
                    stack.enter_context(within.context(None))
                key = self.model_id(req)
                if key is not None and takes_turn(method):
                    stack.enter_context(self.turn(key))
                self.handle(req, Response(settle))
            if not settled:
                raise unanswered(req)
            err, result = settled[0]
            if err is not None:
                raise err
        except HandedError as err:
            if isinstance(err.cause, Exception):
                raise err.cause from None
            raise
        return result

    @overload
    def on(self, event: str, function: L) -> L: ...

    @overload
    def on(self, event: str) -> Callable[[L], L]: ...

    def on(self, event: str, function: L | None = None) -> Any:
        """Observe changes in server code: ``on("created", fn)``, or as a decorator.

        *function* is called with the model after every change by clients, ``call`` or ``emit``, on
        the thread that made it, within its turn. An exception in it is logged.

        :param event: ``"created"``, ``"updated"``, ``"deleted"`` or ``"reset"``.
        :raises ValueError: for any other event.
        """
        if event not in EVENTS:
            raise ValueError(f"there is no event {event!r}: observe one of {', '.join(EVENTS)}")
        if function is None:
            return lambda function: self.on(event, function)
        with self._registering:
            self._observers = {
                **self._observers,
                event: (*self._observers.get(event, ()), function),
            }
        return function

    def publish(self, function: L) -> L:
        """Decide who hears of a change: a function of the :class:`Change`, also as a decorator.

        It returns the channels to tell, None for the default (the channel of the request, or
        everyone for server code), or an empty list for nobody. ``res.end(..., notify=...)`` is
        stronger. A change whose function fails is told to nobody, and the failure is logged.
        """
        self._publisher = function  # type: ignore[assignment]
        return function

    def turn(self, model_id: ModelId) -> AbstractContextManager[object]:
        """Take the turn on a model: ``with backend.turn(7): ...; backend.emit(...)``.

        :raises Conflict: on entering, when it cannot be had within ``Limits.turn_timeout`` seconds.
        """
        turns = [attachment.turn(model_id) for attachment in self._attached()]
        return turns[0] if len(turns) == 1 else _all(turns)

    # For the attachments (sync.py)

    def attach(self, attachment: Attachment) -> None:
        """Let *attachment* hear of what server code does, for as long as somebody holds it."""
        with self._registering:
            alive = (reference for reference in self._attachments if reference() is not None)
            self._attachments = (*alive, weakref.ref(attachment))

    def _attached(self) -> list[Attachment]:
        found = (reference() for reference in self._attachments)
        return [attachment for attachment in found if attachment is not None]

    def _announce(self, change: Change) -> None:
        """Tell of a change that server code has made, wherever the backend is attached."""
        for attachment in self._attached():
            attachment.publish(change.copy())
        self.observe(change)

    def model_id(self, req: Request) -> ModelId | None:
        """The id of the request's model, or None."""
        return req.model.get(req.id_attribute)

    def change(self, req: Request, result: Any, text: str, notify: Notify) -> Change | None:
        """Return the change that an answered request has made, or None when there is none to tell.

        :param text: *result* as JSON text.
        """
        method = "update" if req.method == "patch" else req.method
        if req.method in ("read", "listen") and isinstance(notify, bool):
            return None
        announced = _announced(req, result)
        origin = None if req.socket is None else req.socket.sid
        change = Change.of(
            method,
            announced,
            text=text if announced is result else None,
            channel=req.channel,
            origin=origin,
        )
        if isinstance(notify, bool):
            if not notify:
                change.channels = ()
            elif origin is not None or req.channel is not None:
                change.channels = (req.channel,)
            if notify and self._publisher is not None:
                try:
                    told = self._publisher(change)
                    if told is not None:
                        change.channels = channels(told)
                except Exception:
                    logger.exception("publish failed: %s is told to nobody", method)
                    change.channels = ()
        else:
            change.channels = notify
        return change

    def observe(self, change: Change) -> None:
        """Call the observers of *change*."""
        for function in self._observers.get(_EVENT_OF.get(change.method, ""), ()):
            try:
                function(change.model)
            except Exception:
                logger.exception("an observer of %r failed", change.method)


def create_backend(id_attribute: str | None = None) -> Backend:
    """Return a new :class:`Backend`; the original's name for it."""
    return Backend(id_attribute)


def takes_turn(method: str) -> bool:
    """Whether requests of this method take turns when they carry an id."""
    return method not in ("read", "listen")


def unanswered(req: Request) -> RuntimeError:
    """The error for a stack that returned without an answer, which would keep a client waiting."""
    return RuntimeError(
        f"no layer answered {req.method!r}: one that does not call next() has to call "
        "res.end() or res.error() before it returns"
    )


@contextmanager
def _all(turns: Iterable[AbstractContextManager[object]]) -> Iterator[None]:
    """Take several turns, in the same order in every thread: no two wait for each other."""
    with ExitStack() as stack:
        for turn in turns:
            stack.enter_context(turn)
        yield


def _check_channel(channel: object) -> None:
    if channel is not None and not isinstance(channel, str):
        raise TypeError(f"a channel is a string, not {channel!r:.100}")


def _announced(req: Request, result: Any) -> Any:
    """What other clients are told: the answer, completed by the request where the id is missing."""
    key = req.id_attribute
    if req.method in ("read", "listen"):
        return result
    if not isinstance(result, dict):
        return req.model
    if key not in result and key in req.model:
        return {**req.model, **result}
    return result


def _parameters(layer: Layer) -> tuple[bool, bool]:
    """Return (takes an error, takes next), from the number of positional parameters of *layer*."""
    name = getattr(layer, "__name__", layer)
    if inspect.isclass(layer):
        raise TypeError(f"{name} is a class: a layer is a function, or an object that is callable")
    if inspect.iscoroutinefunction(layer):
        raise TypeError(f"{name} is asynchronous: a layer blocks until it is done")
    try:
        # Of the layer itself, and not of a function of another shape that it wraps,
        signature = inspect.signature(layer, follow_wrapped=False)
        if _takes_any_number(signature):  # unless it hands on whatever it is given.
            signature = inspect.signature(layer)
    except (TypeError, ValueError):  # a builtin without a signature
        return False, True
    parameters = signature.parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    any_number = _takes_any_number(signature)
    most = max(3, len(positional)) if any_number else len(positional)
    must = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    # A function that needs nothing is rather one that returns a layer, and was not called.
    if not must and (required or any_number):
        if required == 4:
            return True, True
        if required <= 3 <= most:
            return False, True
        if required <= 2 == most:
            return False, False
    raise TypeError(
        f"{name} is not a layer: it takes (req, res), (req, res, next) or (err, req, res, next), "
        f"not {signature}"
    )


def _takes_any_number(signature: inspect.Signature) -> bool:
    return any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())


class _Descent:
    """One request on its way down the layers."""

    __slots__ = ("layers", "raised", "req", "res", "unhandled")

    def __init__(self, layers: Sequence[_Registered], req: Request, res: Response) -> None:
        self.layers = layers
        self.req = req
        self.res = res
        self.unhandled: BaseException | None = None  # went past the bottom, is on its way up
        self.raised: list[BaseException] = []  # were raised, not handed on: not for clients

    def go(self, index: int, err: object) -> None:
        """Run the layers from *index* on; with an error only those that take one."""
        layers = self.layers
        while index < len(layers):
            layer = layers[index]
            index += 1
            if layer.takes_error is (err is None):
                continue
            try:
                if err is not None:
                    layer.function(err, self.req, self.res, _Next(self, index))
                elif layer.takes_next:
                    layer.function(self.req, self.res, _Next(self, index))
                else:
                    layer.function(self.req, self.res)
                return
            except Exception as exc:
                if exc is self.unhandled:
                    raise
                if self.res.ended:
                    logger.exception("a layer failed after the answer to %r", self.req.method)
                    return
                self.raised.append(exc)
                err = exc
        if err is None:
            self.res.end(self.req.model)
            return
        raised = next((exc for exc in self.raised if exc is err), None)
        self.unhandled = handed(err) if raised is None else raised
        raise self.unhandled


class _Next:
    """The ``next`` of one layer."""

    __slots__ = ("called", "descent", "index")

    def __init__(self, descent: _Descent, index: int) -> None:
        self.descent = descent
        self.index = index
        self.called = False

    def __call__(self, err: object = None) -> None:
        if err is None:
            if self.called:
                raise RuntimeError("next() was called twice by one layer")
            self.called = True
        self.descent.go(self.index, err)
