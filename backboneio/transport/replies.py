"""The answers that the WSGI server sends for us."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import payload
from .http import CORS, Headers, Refused

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

_TEXT: Headers = [("Content-Type", "text/plain; charset=UTF-8"), ("Cache-Control", "no-store")]


class Replies:
    """Answers requests, with the headers that let a page of another origin read them.

    :param compression: whether long answers to polls are compressed.
    """

    def __init__(self, cors: CORS, compression: bool) -> None:
        self._cors = cors
        self._compression = compression

    def headers(self, environ: Environ) -> Headers:
        """Return the headers of whatever is text."""
        return [*_TEXT, *self._cors.headers(environ)]

    def encoding(self, environ: Environ) -> str | None:
        """Return how a long answer is compressed, None when it is not."""
        accepted = environ.get("HTTP_ACCEPT_ENCODING", "")
        return payload.choose_encoding(accepted, self._compression)

    def ok(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer that all is well."""
        return _answer(start_response, "200 OK", self.headers(environ), b"ok")

    def poll(
        self,
        environ: Environ,
        start_response: StartResponse,
        body: bytes,
        headers: Headers | None = None,
    ) -> Iterable[bytes]:
        """Answer a poll with a body, as of ``encode_payload``, and more headers."""
        body, extra = payload.compress(body, self.encoding(environ))
        own = [*self.headers(environ), *(headers or []), *extra]
        return _answer(start_response, "200 OK", own, body)

    def refuse(
        self, refused: Refused, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer with an error."""
        headers = [*refused.headers, *self._cors.headers(environ)]
        return _answer(start_response, refused.status, headers, refused.body)


def _answer(
    start_response: StartResponse, status: str, headers: Headers, body: bytes
) -> Iterable[bytes]:
    start_response(status, [*headers, ("Content-Length", str(len(body)))])
    return [body]
