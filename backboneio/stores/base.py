"""Store: the shape that all stores share."""

from __future__ import annotations

from typing import Any

from ..errors import NotFound
from ..journal import Journal
from ..request import CRUD, Request, Response


class Store:
    """A layer that keeps models: it answers every request for one of Backbone's methods.

    A store has one method for each of them, which takes the request and the response and ends with
    ``res.end``, after what it did was committed, with the whole model as it is stored now. Other
    methods pass it by.

    :ivar methods: the methods that it is a layer for.
    :ivar id_attribute: the key of a model's id.
    """

    methods = CRUD
    id_attribute = "id"

    def __call__(self, req: Request, res: Response) -> None:
        """Serve a request."""
        getattr(self, req.method)(req, res)

    def bind(self, journal: Journal) -> None:
        """Learn which journal the backend has; called when both are known, before any request."""

    def create(self, req: Request, res: Response) -> None:
        """Keep a new model.

        It takes ``req.turn(id)`` before it commits where it learns the id only then.

        :raises Conflict: when there is one with its id, or one that it may not stand beside.
        :raises Invalid: when it cannot be kept as it is.
        """
        raise NotImplementedError

    def read(self, req: Request, res: Response) -> None:
        """Answer with the model of an id, or a list of all when the request has none.

        :raises NotFound: when there is no such model.
        """
        raise NotImplementedError

    def update(self, req: Request, res: Response) -> None:
        """Replace a model.

        :raises NotFound: when there is no such model.
        """
        raise NotImplementedError

    def patch(self, req: Request, res: Response) -> None:
        """Change some attributes of a model.

        :raises NotFound: when there is no such model.
        """
        raise NotImplementedError

    def delete(self, req: Request, res: Response) -> None:
        """Remove a model, and answer with it.

        :raises NotFound: when there is no such model.
        """
        raise NotImplementedError

    def not_found(self, model_id: Any) -> NotFound:
        """Return the error for an id, or the lack of one, that leads to no model."""
        if model_id is None:
            return NotFound(f"model.{self.id_attribute}: is needed to find the model")
        return NotFound(f"there is no model with the id {model_id!r:.100}")
