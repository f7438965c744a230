"""cookie_parser: the cookies of the handshake as ``req.cookies``."""

from __future__ import annotations

from collections.abc import Callable

from werkzeug.http import parse_cookie

from ..request import Request, Response


def cookie_parser() -> Callable[[Request, Response, Callable[..., None]], None]:
    """Return a layer that sets ``req.cookies``, a dict of the handshake's cookies.

    It is empty when the browser sent none, or when server code made the request.
    """

    def parse(req: Request, res: Response, next: Callable[..., None]) -> None:
        req.cookies = {} if req.socket is None else dict(parse_cookie(req.socket.environ).items())
        next()

    return parse
