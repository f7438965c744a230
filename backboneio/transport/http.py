"""The HTTP side of Engine.IO: origins and CORS, answers, cookies, and what to keep of a request."""

from __future__ import annotations

import io
import json
import sys
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Headers = list[tuple[str, str]]
Origins = str | Iterable[str] | Callable[..., bool] | None


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: str, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = json.dumps(message).encode("utf-8")
        self.headers: Headers = [("Content-Type", "application/json"), *(headers or [])]


def bad_request(message: str) -> Refused:
    """An error for a request that makes no sense."""
    return Refused("400 Bad Request", message)


def refused_origin(origin: str, accepted: list[str] | None) -> str:
    """Return what is logged when a page of an origin is refused."""
    return (
        f"a page of the origin {origin[:200]!r} was refused; accepted is {accepted}. See "
        "cors_allowed_origins; behind a proxy, let it pass on the Host (with its port) and the "
        "scheme, and apply werkzeug's ProxyFix"
    )


class CORS:
    """Which origins may talk to us; python-engineio's `cors_allowed_origins` and its rules.

    None: the origin of the request itself; "*": all; a string, a list, or a function of the origin
    and environ; [] switches the check and the headers off.

    What a proxy says of the request (X-Forwarded-*) counts only where something that knows the
    proxy, like ProxyFix, has put it into `wsgi.url_scheme` and `HTTP_HOST`: any client can send it.
    """

    def __init__(self, allowed: Origins, credentials: bool) -> None:
        self._allowed = allowed
        self._credentials = credentials

    def accepted(self, environ: Mapping[str, Any]) -> list[str] | None:
        """The accepted origins for a request, None for all."""
        allowed = self._allowed
        if allowed is None:
            scheme, host = environ.get("wsgi.url_scheme"), environ.get("HTTP_HOST")
            return [f"{scheme}://{host}"] if scheme and host else []
        if isinstance(allowed, str):
            return None if allowed == "*" else [allowed]
        if callable(allowed):
            origin = environ.get("HTTP_ORIGIN")
            try:
                accepted = allowed(origin, environ)
            except TypeError:
                accepted = allowed(origin)
            return [str(origin)] if accepted else []
        origins = list(allowed)
        return None if "*" in origins else origins

    def refuses(self, environ: Mapping[str, Any]) -> bool:
        """Whether a request is from a page that is not allowed to talk to us."""
        origin = environ.get("HTTP_ORIGIN")
        if not origin or self._allowed == []:
            return False
        origins = self.accepted(environ)
        return origins is not None and origin not in origins

    def headers(self, environ: Mapping[str, Any]) -> Headers:
        """The headers by which a browser lets the page read the answer."""
        if self._allowed == []:
            return []
        headers: Headers = []
        origin = environ.get("HTTP_ORIGIN")
        if origin and origin.isprintable() and not self.refuses(environ):
            headers = [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
        if environ["REQUEST_METHOD"] == "OPTIONS":
            headers.append(("Access-Control-Allow-Methods", "OPTIONS, GET, POST"))
        requested = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
        if requested and requested.isprintable():  # no line break gets into our own response
            headers.append(("Access-Control-Allow-Headers", requested))
        if self._credentials:
            headers.append(("Access-Control-Allow-Credentials", "true"))
        return headers


def read_query(text: str) -> dict[str, str]:
    """The parameters of a query string, the first of those of one name; empty ones are left out."""
    if "%" in text or "+" in text:
        return {name: values[0] for name, values in urllib.parse.parse_qs(text).items()}
    query: dict[str, str] = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if value:
            query.setdefault(name, value)
    return query


def cookie_header(cookie: str | Mapping[str, Any] | None, sid: str) -> Headers:
    """The Set-Cookie header for python-engineio's `cookie` option."""
    if not cookie:
        return []
    if isinstance(cookie, str):
        cookie = {"name": cookie, "path": "/", "SameSite": "Lax"}
    text = f"{cookie.get('name', 'io')}={sid}"
    for attribute, value in cookie.items():
        if attribute == "name":
            continue
        if callable(value):
            value = value()
        text += f"; {attribute}" if value is True else f"; {attribute}={value}"
    return [("Set-Cookie", text)]


_NO_INPUT = io.BytesIO()


class Environs:
    """Keeps what an application may want to know of a handshake for as long as the client stays.

    :param keep: keys to keep besides the CGI variables and the plain `wsgi.*` values.
    :param limit: bytes of names and values; a request that has more is refused.
    """

    #: Names and values that most clients share are stored once: so many, no pair longer than that.
    _SHARED, _LONGEST = 512, 256
    #: Differ for each client, or nearly.
    _ONCE = frozenset(("HTTP_COOKIE", "HTTP_SEC_WEBSOCKET_KEY", "REMOTE_PORT", "QUERY_STRING"))

    def __init__(self, keep: Iterable[str], limit: int) -> None:
        self._keep = tuple(keep)
        self._limit = limit
        # Not sys.intern(): a client's texts would never leave the process. Single operations only,
        # so there is no lock; two threads may store a text twice, which does no harm.
        self._shared: dict[str, str] = {}

    def small(self, environ: Mapping[str, Any]) -> dict[str, Any]:
        """Copy the CGI variables (HTTP_*, REMOTE_ADDR, PATH_INFO, QUERY_STRING, SERVER_*, ...), the
        plain `wsgi.*` values with an empty body, and the keys to keep.

        :raises Refused: (431) when they are too large.
        """
        small: dict[str, Any] = {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": environ.get("wsgi.url_scheme", "http"),
            "wsgi.input": _NO_INPUT,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": bool(environ.get("wsgi.multiprocess")),
            "wsgi.run_once": False,
        }
        share, once = self._shared.setdefault, self._ONCE
        size = 0
        for key, value in environ.items():
            if type(value) is str and type(key) is str and key.isupper():
                both = len(key) + len(value)
                size += both
                if both <= self._LONGEST:
                    key = share(key, key)
                    if key not in once:
                        value = share(value, value)
                small[key] = value
        if len(self._shared) > self._SHARED:
            self._shared.clear()
        if size > self._limit:
            raise Refused(
                "431 Request Header Fields Too Large",
                f"Headers of more than {self._limit} bytes",
            )
        for key in self._keep:
            if key in environ:
                small[key] = environ[key]
        return small
