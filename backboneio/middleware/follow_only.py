"""follow_only: clients hear of changes; they read and write elsewhere, over REST say."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import Forbidden
from ..request import Request, Response


def follow_only(req: Request, res: Response, next: Callable[..., None]) -> None:
    """Layer that refuses whatever a client asks for but ``listen``; server code may ``call``.

    For pages with ``backend: {name: 'tasks', sync: false}``, whose rules of who may read and write
    what are those of the application's views. Who may listen is up to a layer for ``listen``.

    :raises Forbidden: for a client's request.
    """
    if req.socket is not None and req.method != "listen":
        raise Forbidden(
            f"the backend {req.backend!r} is followed only: read and write where the application "
            "says, with backend: {name, sync: false} in the page"
        )
    next()
