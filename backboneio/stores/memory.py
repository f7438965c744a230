"""memory_store: models in the memory of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from .. import forks, json
from ..errors import Conflict, NotFound, TooLarge
from ..json import JSONText
from ..model import id_key
from ..plain import NotPlain, plain_copy
from ..request import Request, Response
from .base import Store

Model = dict[str, Any]


class MemoryStore(Store):
    """A layer that keeps models in memory; made by :func:`memory_store`.

    A model that is stored is never changed, only replaced: reading it needs no lock.

    ``_lock`` protects ``_models``, ``_count`` and ``_next_id``. It is held for single steps only,
    never over ``res.end``; a model's turn is taken before it.
    """

    def __init__(
        self,
        models: Iterable[Mapping[str, Any]] = (),
        *,
        id_attribute: str = "id",
        per_channel: bool = False,
        max_models: int | None = None,
        max_model: int | None = 1_000_000,
        upsert: bool = False,
    ) -> None:
        self.id_attribute = id_attribute
        self._per_channel = per_channel
        self._max_models = max_models
        self._max_model = max_model
        self._upsert = upsert
        self._lock = threading.Lock()
        self._models: dict[str | None, dict[str, Model]] = {}  # by channel, by id; none is empty
        self._count = 0
        self._next_id = 1
        for given in models:
            model = self._plain(dict(given))
            model_id = model.setdefault(id_attribute, self._next_id)
            if isinstance(model_id, int):  # an id of a model that is deleted is not given again
                self._next_id = max(self._next_id, model_id + 1)
            self._text(model)
            self._add(None, model)
        forks.register(self)

    def models(self, channel: str | None = None) -> list[Model]:
        """Return copies of all models, in the order of creation; *channel* with ``per_channel``."""
        return [plain_copy(model) for model in self._all(channel)]

    def after_fork(self) -> None:
        """In a forked child: the lock may be held, and a model be counted that is not there."""
        self._lock = threading.Lock()
        self._count = sum(map(len, self._models.values()))

    def create(self, req: Request, res: Response) -> None:
        """Keep a new model."""
        channel = self._channel(req)
        model = self._plain(req.model)
        model_id = model.get(self.id_attribute)
        if model_id is None:
            # Nobody can know the id yet, but may guess it: from here on changes wait for this one.
            model_id = model[self.id_attribute] = self._new_id(channel)
        text = self._text(model)
        with req.turn(model_id):
            self._add(channel, model)
            res.end(model, text=text, whole=True)

    def read(self, req: Request, res: Response) -> None:
        """Answer with one model, or all in the order of creation."""
        channel = self._channel(req)
        model_id = req.model.get(self.id_attribute)
        if model_id is None:
            res.end(self._all(channel), whole=True)
        else:
            res.end(self._find(channel, model_id)[1], whole=True)

    def update(self, req: Request, res: Response) -> None:
        """Replace a model; with ``upsert`` create what is not there."""
        channel = self._channel(req)
        model = self._plain(req.model)
        model_id = model.get(self.id_attribute)
        while True:
            try:
                key, stored = self._find(channel, model_id)
            except NotFound:
                if model_id is None or not self._upsert:
                    raise
                text = self._text(model)
                self._add(channel, model)
                break
            model = json.as_stored(model, stored)
            model[self.id_attribute] = stored[self.id_attribute]
            text = self._text(model)
            if self._replace(channel, key, stored, model):
                break
        res.end(model, text=text, whole=True)

    def patch(self, req: Request, res: Response) -> None:
        """Change some attributes of a model."""
        channel = self._channel(req)
        attributes = self._plain(req.model)
        model_id = attributes.pop(self.id_attribute, None)
        while True:
            key, stored = self._find(channel, model_id)
            model = {**stored, **json.as_stored(attributes, stored)}
            text = self._text(model)
            if self._replace(channel, key, stored, model):
                break
        res.end(model, text=text, whole=True)

    def delete(self, req: Request, res: Response) -> None:
        """Remove a model."""
        channel = self._channel(req)
        model_id = req.model.get(self.id_attribute)
        with self._lock:
            key, model = self._find(channel, model_id)
            models = self._models[channel]
            del models[key]
            if not models:  # names of channels are clients' to choose: nothing is left of them
                del self._models[channel]
            self._count -= 1
        res.end(model, whole=True)

    # What is kept

    def _channel(self, req: Request) -> str | None:
        return req.channel if self._per_channel else None

    def _all(self, channel: str | None) -> list[Model]:
        with self._lock:
            return list(self._models.get(channel, {}).values())

    def _find(self, channel: str | None, model_id: Any) -> tuple[str, Model]:
        """Return the key and the stored model; two look-ups, so with or without ``_lock``."""
        if model_id is not None:
            key = id_key(model_id)
            model = self._models.get(channel, {}).get(key)
            if model is not None:
                return key, model
        raise self.not_found(model_id)

    def _new_id(self, channel: str | None) -> int:
        """Return an id that no model of the channel has, and that was not given before."""
        with self._lock:
            taken = self._models.get(channel, {})
            while id_key(self._next_id) in taken:  # a client chose it
                self._next_id += 1
            new = self._next_id
            self._next_id += 1
        return new

    def _add(self, channel: str | None, model: Model) -> None:
        """Put a new model in."""
        model_id = model[self.id_attribute]
        key = id_key(model_id)
        with self._lock:
            if key in self._models.get(channel, {}):
                raise Conflict(f"there is a model with the id {model_id!r:.100} already")
            if self._max_models is not None and self._count >= self._max_models:
                raise TooLarge(f"the store is full: it holds at most {self._max_models} models")
            self._count += 1
            self._models.setdefault(channel, {})[key] = model

    def _replace(self, channel: str | None, key: str, stored: Model, model: Model) -> bool:
        """Put *model* in the place of *stored*, and return whether that was still there.

        Within one backend it is, since changes of a model take turns; two that share the store do
        not know each other's turns.
        """
        with self._lock:
            models = self._models.get(channel, {})
            if models.get(key) is not stored:
                return False
            models[key] = model
            return True

    def _plain(self, model: Model) -> Model:
        """Return a copy that is what clients will read: server code may bring a date, say.

        :raises TypeError: for what is not JSON, naming the field, before anything is stored.
        :raises ValueError: the same, for NaN, infinities, and a model that contains itself.
        """
        try:
            return plain_copy(model)  # type: ignore[no-any-return]
        except (NotPlain, RecursionError):
            return json.loads(json.dumps(model, "model"))  # type: ignore[no-any-return]

    def _text(self, model: Model) -> JSONText:
        """Return *model* as JSON text, if it is small enough."""
        text = json.dumps(model, "model")
        size = json.byte_length(text)
        if self._max_model is not None and size > self._max_model:
            raise TooLarge(f"model: would be {size} bytes of JSON, and may be {self._max_model}")
        return text


def memory_store(
    models: Iterable[Mapping[str, Any]] = (),
    *,
    id_attribute: str = "id",
    per_channel: bool = False,
    max_models: int | None = None,
    max_model: int | None = 1_000_000,
    upsert: bool = False,
) -> MemoryStore:
    """Return a layer that keeps models in the memory of this process; made for threads.

    It serves ``create``, ``read`` (one, or all in the order of creation), ``update`` (replaces the
    model), ``patch`` (merges attributes) and ``delete``, and is passed over by everything else. New
    models get the ids 1, 2, 3, ...; a client that brings an id of its own keeps it, unless it is
    taken (``Conflict``). Ids are compared as Backbone compares them: 1 and ``"1"`` are one model.
    Models are copied on their way in and out, and kept as plain JSON. An integer beyond 2^53-1
    travels as a string, and stays an integer here when a client sends it back.

    Updating or deleting what is not there is ``NotFound``. The original's store silently created
    the model on update, and ignored the delete; ``upsert=True`` restores the former.

    :param models: models to begin with.
    :param id_attribute: the key of the id, e.g. ``"_id"``.
    :param per_channel: keep the models of each channel apart: a client sees those of its channel.
    :param max_models: refuse more than this many models with ``TooLarge``; default no limit.
    :param max_model: refuse changes that would make a model larger than so many bytes of JSON with
        ``TooLarge``; None for no limit. Every change of a model sends all of it to everyone who
        hears of it, so small patches must not make it larger than a message may be: the default is
        that of ``max_http_buffer_size``.
    :param upsert: let an update create a model that is not there.
    :raises TypeError: for models that cannot be JSON; names the field.
    """
    return MemoryStore(
        models,
        id_attribute=id_attribute,
        per_channel=per_channel,
        max_models=max_models,
        max_model=max_model,
        upsert=upsert,
    )
