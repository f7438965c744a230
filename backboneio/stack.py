"""The stack of layers, and a request's descent through them."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from .answers import Answered
from .errors import handed
from .request import CRUD, READING, Request, Response

logger = logging.getLogger("backboneio.stack")

Layer = Callable[..., object]


#: Stands for every method that changes something: all but ``read`` and ``listen``.
WRITE = "write"

#: What people register layers for that never run, and what Backbone calls it when it asks a server.
_MISNAMED = {"save": "create, update and patch", "destroy": "delete", "fetch": "read"}

#: What layers are registered for, and what people write when they mean it: the names of events.
_METHODS = (*CRUD, "listen", WRITE)
_EVENTS = {"created": "create", "updated": "update", "deleted": "delete"}


@dataclass(frozen=True, slots=True)
class Registered:
    """A layer, as it was registered.

    :ivar methods: the methods that it is for; None for all.
    """

    function: Layer
    methods: frozenset[str] | None
    takes_error: bool
    takes_next: bool

    @classmethod
    def of(cls, layer: Layer, methods: Collection[str] = ()) -> Registered:
        """Register *layer* for *methods*; with none for those that it says itself, else for all.

        :raises TypeError: when it is none.
        :raises ValueError: for the method ``reset``.
        """
        named = methods or getattr(layer, "methods", None)
        if not isinstance(named, (tuple, list, set, frozenset)):
            named = None
        elif "reset" in named:
            raise ValueError(
                "no method can be called 'reset': that is what tells collections to fetch anew; "
                "give it another name"
            )
        return cls(layer, None if named is None else frozenset(named), *_parameters(layer))

    def names(self, method: str) -> bool:
        """Whether it was registered for this very method."""
        return self.methods is not None and method in self.methods

    def serves(self, method: str) -> bool:
        """Whether it takes part in requests of *method*."""
        return (
            self.methods is None
            or method in self.methods
            or (WRITE in self.methods and method not in READING)
        )


class Stack:
    """The layers as they are between two registrations.

    :ivar known: the methods that may be asked for: Backbone's, and those that a layer is for.
    """

    __slots__ = ("_passed_by", "_serving", "known", "layers")

    def __init__(self, layers: tuple[Registered, ...] = ()) -> None:
        self.layers = layers
        named = frozenset[str]().union(*(layer.methods or () for layer in layers))
        self.known = named.difference(("listen", WRITE)).union(CRUD)
        self._serving: dict[str, tuple[Registered, ...]] = {}
        self._passed_by: set[str] = set()  # the methods that were warned of; single operations

    def handle(self, req: Request, res: Response) -> None:
        """Run *req* through the layers, on this thread.

        :raises Exception: the error that no layer took.
        """
        layers = self._serving.get(req.method)
        if layers is None:
            layers = self._serving_of(req.method)
        _Descent(self, layers, req, res).go(0, None)

    def passed_by(self, req: Request) -> None:
        """Say once of a method that every layer has passed its request on."""
        if req.method in CRUD and req.method not in self._passed_by:
            self._passed_by.add(req.method)  # twice, when two requests are the first
            logger.warning(
                "backend %r: no layer is for %r, or all have called next(): a page is told that "
                "what it sent is stored, and a fetch gets an empty model. Use a store, after the "
                "layers that guard it: use(backboneio.middleware.memory_store()), or "
                "sqlalchemy_store(...)",
                req.backend,
                req.method,
            )

    def doubts(self) -> list[str]:
        """Return what is probably not meant as it was registered, for people to read."""
        doubts = []
        for layer in self.layers:
            name = getattr(layer.function, "__name__", repr(layer.function))
            doubts += [
                f"the layer {name} is for {method!r} and never runs: the methods of Backbone's "
                f"{method}() are {meant}"
                for method, meant in _MISNAMED.items()
                if layer.names(method)
            ]
            doubts += [
                f"the layer {name} is for {method!r}, a method of your own by that name, which no "
                f"page asks for by itself: did you mean {meant!r}?"
                for method in sorted(layer.methods or ())
                if (meant := _meant(method)) is not None
            ]
            if layer.takes_next and layer.serves("update") and not layer.serves("patch"):
                doubts.append(
                    f"the layer {name} is for 'update' and not for 'patch', which changes models, "
                    f"too: {{patch: true}} passes it by; {WRITE!r} stands for every method that "
                    "changes something"
                )
        return doubts

    def _serving_of(self, method: str) -> tuple[Registered, ...]:
        """Return the layers for *method*; worked out once."""
        layers = tuple(layer for layer in self.layers if layer.serves(method))
        if method in self.known or method == "listen":  # a name made up is not kept
            self._serving[method] = layers
        return layers


class _Descent:
    """One request on its way down the layers."""

    __slots__ = ("layers", "raised", "req", "res", "stack", "unhandled")

    def __init__(
        self, stack: Stack, layers: Sequence[Registered], req: Request, res: Response
    ) -> None:
        self.stack = stack
        self.layers = layers
        self.req = req
        self.res = res
        self.unhandled: BaseException | None = None  # went past the bottom, is on its way up
        self.raised: list[BaseException] = []  # were raised, not handed on: not for clients

    def go(self, index: int, err: object) -> None:
        """Run the layers from *index* on; with an error only those that take one."""
        if isinstance(err, Answered):  # it has been done: no error, whoever hands it on
            raise err
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
            except Answered:
                raise
            except Exception as exc:
                if exc is self.unhandled:
                    raise
                if self.res.ended:
                    logger.exception("a layer failed after the answer to %r", self.req.method)
                    return
                self.raised.append(exc)
                err = exc
        if err is None:
            if not self.res.ended:
                self.stack.passed_by(self.req)
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


def methods_and_layer(args: Sequence[Any]) -> tuple[Sequence[str], Layer | None]:
    """Tell apart what ``use`` is given: methods, and the layer, if there is one at the end.

    :raises TypeError: for methods that are not strings, and for nothing at all.
    """
    layer = args[-1] if args and callable(args[-1]) else None
    methods = args if layer is None else args[:-1]
    for method in methods:
        if not isinstance(method, str) or not method:
            raise TypeError(f"a method is a name such as 'create', not {method!r}")
    if not args:
        raise TypeError("use() takes a layer, or methods and a layer")
    return methods, layer


def _meant(method: str) -> str | None:
    """Return the method that is misspelt as *method*, or None when it is probably none.

    Not ``ready`` for ``read`` or ``undelete`` for ``delete``: such names are people's own.
    """
    if method in _METHODS:
        return None
    written = method.strip().lower()
    if written in _METHODS:
        return written
    near = difflib.get_close_matches(written, _METHODS, n=1, cutoff=0.8)
    if near and written[0] == near[0][0] and not written.startswith(near[0]):
        return near[0]
    return _EVENTS.get(written)


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
