"""The files that a browser needs, served over WSGI: ours, Socket.IO's client, and Backbone."""

from __future__ import annotations

import base64
import gzip
import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup
from werkzeug.http import http_date
from werkzeug.wrappers import Request, Response

from . import forks

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

_SCRIPT = "text/javascript; charset=utf-8"  # RFC 9239
_CONTENT_TYPES = {
    "backbone.io.js": _SCRIPT,
    "backbone.io.esm.js": _SCRIPT,
    "backbone.io.min.js": _SCRIPT,
    "backbone.io.min.js.map": "application/json",
    "backbone.io.d.ts": "text/plain; charset=utf-8",  # for editors; no type is registered
    "socket.io.js": _SCRIPT,
    "socket.io.js.map": "application/json",
    "socket.io.min.js": _SCRIPT,
    "socket.io.min.js.map": "application/json",
    "socket.io.esm.min.js": _SCRIPT,
    "socket.io.esm.min.js.map": "application/json",
    "vendor/backbone.js": _SCRIPT,
    "vendor/backbone.min.js": _SCRIPT,
    "vendor/backbone-min.js.map": "application/json",
    "vendor/jquery.js": _SCRIPT,
    "vendor/jquery.min.js": _SCRIPT,
    "vendor/underscore.js": _SCRIPT,
    "vendor/underscore.min.js": _SCRIPT,
    "vendor/LICENSES.txt": "text/plain; charset=utf-8",
}
#: How long a browser keeps what is asked for by its version: a year, the most that is usual.
_FOR_EVER = "public, max-age=31536000, immutable"  # RFC 8246
#: Hexadecimal digits of a version.
_VERSION = 12
#: How often a browser is sent to ask again for a version that this process does not have. Where
#: half of the workers have it, one script in 2,048 is not found then; browsers give up after 20.
_TRIES = 10


@dataclass(frozen=True)
class _File:
    """A file as it was read: what tells whether it is still the same, and all there is to send."""

    identity: tuple[int, int, int]
    last_modified: str
    body: bytes
    gzipped: bytes
    etag: str
    integrity: str

    @property
    def version(self) -> str:
        """What a URL says, so that what it leads to need not be asked for again."""
        return self.etag[:_VERSION]


class ClientFiles:
    """A WSGI application that serves the files for the browser, and nothing else.

    It goes by the end of the path, so it can be mounted anywhere. That end is looked up among the
    fixed :attr:`names` and never becomes part of a file name: there is no path to traverse. Answers
    carry ETag and Last-Modified, and ``Cache-Control: no-cache``: since names hold no version, a
    browser asks every time, and mostly hears 304. Where the query has the version of what is sent,
    as in the URLs of :meth:`scripts`, it may be kept for ever. They are compressed for whoever
    prefers gzip.

    While a new release replaces the workers one by one, a page of a new one may ask an old one for
    its scripts, whose bytes the page's ``integrity`` would refuse. Whoever asks for a version that
    is not here is sent to ask again (307, ten times at most), so that another worker may answer;
    after that it gets what there is.

    Files are kept in memory, and read again when they change on disk. Instances may be shared by
    any number of threads: one lock is held while a file is looked up, and read if need be, but
    not while it is sent.

    :param directory: where the files are; by default those that came with the package.
    """

    #: The names of the files that are served.
    names: frozenset[str] = frozenset(_CONTENT_TYPES)

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self._directory = Path(directory or Path(__file__).with_name("client"))
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()
        forks.register(self)

    def after_fork(self) -> None:
        """In a forked child: another thread may hold the lock."""
        self._lock = threading.Lock()

    def match(self, path: str) -> str | None:
        """Return the name of the file that a URL path ends in, or None if it is none of ours.

        A path counts whatever it begins with; a caller with a prefix of its own checks that first.
        """
        *_, folder, name = ["", *path.split("/")]
        if f"{folder}/{name}" in self.names:
            return f"{folder}/{name}"
        return name if name in self.names else None

    def url(self, name: str) -> str:
        """Return the name of a file with its version, to be put behind a prefix.

        :raises KeyError: when there is no such file.
        :raises OSError: when it was never built.
        """
        return f"{name}?v={self._known(name).version}"

    def integrity(self, name: str) -> str:
        """Return what a script tag's ``integrity`` says of a file (W3C, Subresource Integrity).

        :raises KeyError: when there is no such file.
        :raises OSError: when it was never built.
        """
        return self._known(name).integrity

    def scripts(
        self, prefix: str, *, jquery: bool = False, minified: bool = True, **attributes: object
    ) -> Markup:
        """Return the script tags of all that a page needs, in their order; see ``WSGIApp``."""
        names = ["vendor/underscore", "vendor/backbone", "socket.io", "backbone.io"]
        if jquery:
            names.insert(0, "vendor/jquery")
        more = Markup("").join(
            Markup(" {}").format(name) if value is True else Markup(' {}="{}"').format(name, value)
            for name, value in attributes.items()
            if value is not None and value is not False
        )
        tags = []
        for name in names:
            name += ".min.js" if minified else ".js"
            tag = '<script src="{}{}" integrity="{}"{}></script>'
            tags.append(Markup(tag).format(prefix, self.url(name), self.integrity(name), more))
        return Markup("\n").join(tags)

    def _known(self, name: str) -> _File:
        if name not in self.names:
            raise KeyError(f"there is no file {name!r} for browsers")
        return self._read(name)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a WSGI request: 200, 304, 404, 405, or 500 when the file was never built."""
        return self._respond(Request(environ))(environ, start_response)

    def _respond(self, request: Request) -> Response:
        name = self.match(request.path)
        if name is None:
            return _plain("Not Found\n", 404)
        if request.method not in ("GET", "HEAD"):
            response = _plain("Method Not Allowed\n", 405)
            response.headers["Allow"] = "GET, HEAD"
            return response
        try:
            file = self._read(name)
        except OSError as error:
            logger.error(
                "%s cannot be served (%s). In a checkout, 'pip install -e .' builds the files for "
                "the browser, for which it needs npm; elsewhere, install backboneio again.",
                name,
                error,
            )
            return _plain(f"{name} is not installed on this server; its log says more\n", 500)
        asked = request.args.get("v", "")
        if asked != file.version and re.fullmatch(f"[0-9a-f]{{{_VERSION}}}", asked):
            tries = request.args.get("again", 0, type=int) + 1
            if 0 < tries <= _TRIES:
                return _elsewhere(f"?v={asked}&again={tries}")
        gzipped = _prefers_gzip(request)
        response = Response(
            file.gzipped if gzipped else file.body, content_type=_CONTENT_TYPES[name]
        )
        if gzipped:
            response.headers["Content-Encoding"] = "gzip"
        # Other bytes need another tag (RFC 9110, 8.8.3.3).
        response.set_etag(f"{file.etag}-gzip" if gzipped else file.etag)
        response.headers["Last-Modified"] = file.last_modified
        response.headers["Cache-Control"] = _FOR_EVER if asked == file.version else "no-cache"
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.make_conditional(request)
        response.headers.pop("Date", None)  # left to the server: gunicorn would send a second one
        return response

    def _read(self, name: str) -> _File:
        path = self._directory / name
        with self._lock:
            file = self._files.get(name)
            if file is None or file.identity != _identity(path.stat()):
                file = self._files[name] = _load(path)
            return file


def _load(path: Path) -> _File:
    with path.open("rb") as opened:
        status = os.fstat(opened.fileno())  # of what is read, should it be replaced meanwhile
        body = opened.read()
    return _File(
        identity=_identity(status),
        last_modified=http_date(status.st_mtime),
        body=body,
        gzipped=gzip.compress(body, mtime=0),
        etag=hashlib.sha256(body).hexdigest()[:32],
        integrity=f"sha384-{base64.b64encode(hashlib.sha384(body).digest()).decode()}",
    )


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _prefers_gzip(request: Request) -> bool:
    """Tell whether gzip is accepted, and not less than no coding at all (RFC 9110, 12.5.3)."""
    accepted = request.accept_encodings
    quality = accepted.quality("gzip")
    return bool(quality > 0 and quality >= accepted.quality("identity"))


def _elsewhere(location: str) -> Response:
    """Send the browser to ask again; what a URL without a path stands for is its own."""
    response = _plain("this version may be at another worker\n", 307)
    response.headers["Location"] = location
    response.headers["Cache-Control"] = "no-store"
    return response


def _plain(text: str, status: int) -> Response:
    return Response(text, status, content_type="text/plain; charset=utf-8")
