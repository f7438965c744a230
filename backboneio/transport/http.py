"""The HTTP side of Engine.IO: origins and CORS, answers, cookies, and what to keep of a request."""

from __future__ import annotations

import io
import json
import sys
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


class CORS:
    """Which origins may talk to us; python-engineio's `cors_allowed_origins` and its rules.

    None: the origin of the request itself (also as a proxy forwards it); "*": all; a string, a
    list, or a function of the origin and environ; [] switches the check and the headers off.
    """

    def __init__(self, allowed: Origins, credentials: bool) -> None:
        self._allowed = allowed
        self._credentials = credentials

    def _origins(self, environ: Mapping[str, Any]) -> list[str] | None:
        """The allowed origins for a request, None for all."""
        allowed = self._allowed
        if allowed is None:
            return _own_origins(environ)
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

    def check(self, environ: Mapping[str, Any]) -> None:
        """Refuse a request from a page that is not allowed to talk to us."""
        origin = environ.get("HTTP_ORIGIN")
        if origin and self._allowed != []:
            origins = self._origins(environ)
            if origins is not None and origin not in origins:
                raise bad_request("Not an accepted origin.")

    def headers(self, environ: Mapping[str, Any]) -> Headers:
        """The headers by which a browser lets the page read the answer."""
        if self._allowed == []:
            return []
        headers: Headers = []
        origin = environ.get("HTTP_ORIGIN")
        if origin and origin.isprintable():
            origins = self._origins(environ)
            if origins is None or origin in origins:
                headers = [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
        if environ["REQUEST_METHOD"] == "OPTIONS":
            headers.append(("Access-Control-Allow-Methods", "OPTIONS, GET, POST"))
        requested = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")
        if requested and requested.isprintable():  # no line break gets into our own response
            headers.append(("Access-Control-Allow-Headers", requested))
        if self._credentials:
            headers.append(("Access-Control-Allow-Credentials", "true"))
        return headers


def _own_origins(environ: Mapping[str, Any]) -> list[str]:
    scheme, host = environ.get("wsgi.url_scheme"), environ.get("HTTP_HOST")
    if not scheme or not host:
        return []
    origins = [f"{scheme}://{host}"]
    if "HTTP_X_FORWARDED_PROTO" in environ or "HTTP_X_FORWARDED_HOST" in environ:
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", scheme).split(",")[0].strip()
        host = environ.get("HTTP_X_FORWARDED_HOST", host).split(",")[0].strip()
        origins.append(f"{scheme}://{host}")
    return origins


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
_ONCE = ("HTTP_COOKIE", "HTTP_SEC_WEBSOCKET_KEY", "REMOTE_PORT")


def small_environ(environ: Mapping[str, Any], keep: Iterable[str] = ()) -> dict[str, Any]:
    """Copy what an application may want to know of a handshake for as long as the client stays.

    That is the CGI variables (HTTP_*, REMOTE_ADDR, PATH_INFO, QUERY_STRING, SERVER_*, ...), the
    plain `wsgi.*` values with an empty body, and the keys in `keep`. Names and the values that most
    clients share are stored once.
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
    for key, value in environ.items():
        if type(key) is str and type(value) is str and key.isupper():
            small[sys.intern(key)] = value if key in _ONCE else sys.intern(value)
    for key in keep:
        if key in environ:
            small[key] = environ[key]
    return small
