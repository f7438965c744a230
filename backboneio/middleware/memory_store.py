"""memory_store: models in the memory of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from .. import json
from ..errors import Conflict, NotFound, TooLarge
from ..model import id_key
from ..request import CRUD, Request, Response


class MemoryStore:
    """A layer that keeps models in memory; made by :func:`memory_store`.

    ``_lock`` protects ``_models``, ``_count`` and ``_next_id``. It is held for single steps only,
    never over ``res.end``; a model's turn is taken before it.
    """

    methods = CRUD

    def __init__(
        self,
        models: Iterable[Mapping[str, Any]] = (),
        *,
        id_attribute: str = "id",
        per_channel: bool = False,
        max_models: int | None = None,
        upsert: bool = False,
    ) -> None:
        self.id_attribute = id_attribute
        self._per_channel = per_channel
        self._max_models = max_models
        self._upsert = upsert
        self._lock = threading.Lock()
        self._models: dict[str | None, dict[str, dict[str, Any]]] = {}  # by channel, by id
        self._count = 0
        self._next_id = 1
        for model in models:
            model = _plain(dict(model))
            model_id = model.setdefault(id_attribute, self._next_id)
            if isinstance(model_id, int):  # an id of a model that is deleted is not given again
                self._next_id = max(self._next_id, model_id + 1)
            self._add(None, model)

    def __call__(self, req: Request, res: Response) -> None:
        """Serve a request."""
        channel = req.channel if self._per_channel else None
        getattr(self, f"_{req.method}")(req, res, channel)

    def models(self, channel: str | None = None) -> list[dict[str, Any]]:
        """Return copies of all models, in the order of creation; *channel* with ``per_channel``."""
        with self._lock:
            return [_copy(model) for model in self._models.get(channel, {}).values()]

    def _create(self, req: Request, res: Response, channel: str | None) -> None:
        model = _plain(req.model)
        model_id = model.get(self.id_attribute)
        if model_id is None:
            # Nobody can know the id yet, but may guess it: from here on changes wait for this one.
            model_id = model[self.id_attribute] = self._new_id(channel)
        with req.turn(model_id):
            self._add(channel, model)
            res.end(_copy(model))

    def _read(self, req: Request, res: Response, channel: str | None) -> None:
        model_id = req.model.get(self.id_attribute)
        if model_id is None:
            res.end(self.models(channel))
            return
        with self._lock:
            model = _copy(self._find(channel, model_id))
        res.end(model)

    def _update(self, req: Request, res: Response, channel: str | None) -> None:
        model = _plain(req.model)
        model_id = model.get(self.id_attribute)
        if self._upsert and model_id is not None:
            self._add(channel, model, replace=True)
        else:
            with self._lock:
                stored = self._find(channel, model_id)
                model[self.id_attribute] = stored[self.id_attribute]
                self._models[channel][id_key(model_id)] = model
        res.end(_copy(model))

    def _patch(self, req: Request, res: Response, channel: str | None) -> None:
        attributes = _plain(req.model)
        model_id = attributes.pop(self.id_attribute, None)
        with self._lock:
            stored = self._find(channel, model_id)
            stored.update(attributes)
            model = _copy(stored)
        res.end(model)

    def _delete(self, req: Request, res: Response, channel: str | None) -> None:
        model_id = req.model.get(self.id_attribute)
        with self._lock:
            model = self._find(channel, model_id)
            del self._models[channel][id_key(model[self.id_attribute])]
            self._count -= 1
        res.end(model)

    def _new_id(self, channel: str | None) -> int:
        """Return an id that no model of the channel has, and that was not given before."""
        with self._lock:
            taken = self._models.get(channel, {})
            while id_key(self._next_id) in taken:  # a client chose it
                self._next_id += 1
            new = self._next_id
            self._next_id += 1
        return new

    def _add(self, channel: str | None, model: dict[str, Any], replace: bool = False) -> None:
        """Put *model*, which has an id, in."""
        with self._lock:
            model_id = model[self.id_attribute]
            models = self._models.setdefault(channel, {})
            key = id_key(model_id)
            if key in models:
                if not replace:
                    raise Conflict(f"there is a model with the id {model_id!r} already")
            else:
                if self._max_models is not None and self._count >= self._max_models:
                    raise TooLarge(f"the store is full: it holds at most {self._max_models} models")
                self._count += 1
            models[key] = model

    def _find(self, channel: str | None, model_id: Any) -> dict[str, Any]:
        """Return the stored model; under ``_lock``."""
        if model_id is None:
            raise NotFound(f"model.{self.id_attribute}: is needed to find the model")
        model = self._models.get(channel, {}).get(id_key(model_id))
        if model is None:
            raise NotFound(f"there is no model with the id {model_id!r:.100}")
        return model


def memory_store(
    models: Iterable[Mapping[str, Any]] = (),
    *,
    id_attribute: str = "id",
    per_channel: bool = False,
    max_models: int | None = None,
    upsert: bool = False,
) -> MemoryStore:
    """Return a layer that keeps models in the memory of this process; made for threads.

    It serves ``create``, ``read`` (one, or all in the order of creation), ``update`` (replaces the
    model), ``patch`` (merges attributes) and ``delete``, and is passed over by everything else. New
    models get the ids 1, 2, 3, ...; a client that brings an id of its own keeps it, unless it is
    taken (``Conflict``). Ids are compared as Backbone compares them: 1 and ``"1"`` are one model.
    Models are copied on their way in and out, and kept as plain JSON.

    Updating or deleting what is not there is ``NotFound``. The original's store silently created
    the model on update, and ignored the delete; ``upsert=True`` restores the former.

    :param models: models to begin with.
    :param id_attribute: the key of the id, e.g. ``"_id"``.
    :param per_channel: keep the models of each channel apart: a client sees those of its channel.
    :param max_models: refuse more than this many models with ``TooLarge``; default no limit.
    """
    return MemoryStore(
        models,
        id_attribute=id_attribute,
        per_channel=per_channel,
        max_models=max_models,
        upsert=upsert,
    )


def _plain(model: dict[str, Any]) -> Any:
    """Return a copy of a model that is what clients will read: server code may bring a date, say.

    :raises TypeError: for what is not JSON, before it is stored and no answer can be given.
    """
    if json.is_plain(model):
        return _copy(model)
    return json.loads(json.dumps(model))


def _copy(value: Any) -> Any:
    """Return a deep copy of plain JSON."""
    if isinstance(value, dict):
        return {
            key: _copy(item) if isinstance(item, (dict, list)) else item
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_copy(item) if isinstance(item, (dict, list)) else item for item in value]
    return value
