"""DjangoApplication: what a request of a layer has of Django, and how it begins and ends."""

from __future__ import annotations

import functools
import io
import logging
import sys
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

from django.conf import settings
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core import signals
from django.core.exceptions import DisallowedHost
from django.core.handlers.wsgi import WSGIHandler, get_script_name
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.urls import set_script_prefix
from django.utils.module_loading import import_string

from .. import errors
from ..application import HANDSHAKE_ONLY, Application
from .errors import client_error

log = logging.getLogger("backboneio.django")

#: Where a handshake keeps whose page it is: noted once, when a layer first asks for the request.
_USER_ID = "backboneio.django.user_id"

_current: ContextVar[_LayerRequest] = ContextVar("backboneio.django")


def request() -> HttpRequest:
    """Return Django's request of whoever opened the page, inside the layers of a backend.

    It is a GET of the handshake's path, with the handshake's headers and cookies. ``user`` and
    ``session`` are there where ``settings.MIDDLEWARE`` has the middleware for them, subclasses of
    your own included; no other middleware runs. Both are read when they are first asked for, and
    anew in every request: who has logged out, or was deleted, is nobody. A session that a layer
    changes is saved when the stack is done.

    :raises RuntimeError: outside of a client's request, as in ``backend.call`` by server code.
    """
    layer = _current.get(None)
    if layer is None:
        raise RuntimeError(
            "there is no request of Django's here: only the layers of a client's request have one, "
            "on a WSGIApp that was given Django's application; req.socket is None in other ones"
        )
    return layer.request


def has_request() -> bool:
    """Whether :func:`request` would return one."""
    return _current.get(None) is not None


class DjangoApplication(Application):
    """A Django application: requests of layers begin and end as those of views do.

    :param wsgi: what was wrapped: *handler*, or middleware around it.
    """

    def __init__(self, handler: WSGIHandler, wsgi: Any) -> None:
        super().__init__(wsgi)
        self.handler = handler
        errors.translate(client_error)

    def debug(self) -> bool:
        """Whether the application is in debug mode now."""
        return bool(settings.DEBUG)

    def is_current(self) -> bool:
        """Whether this thread runs a layer."""
        return has_request()

    def refusal(self, environ: dict[str, Any]) -> str | None:
        """Return why a host is not one of ``ALLOWED_HOSTS``, None if it is."""
        try:
            self.handler.request_class({**environ, "wsgi.input": io.BytesIO()}).get_host()
        except DisallowedHost as err:
            return str(err)
        return None

    def context(self, environ: dict[str, Any] | None) -> AbstractContextManager[object]:
        """Return what begins and ends a request: a client's, or one of server code."""
        if environ is not None:
            return _LayerRequest(self, environ)
        return nullcontext() if self.is_current() else _ServerCode()

    def make_request(self, handshake: dict[str, Any]) -> HttpRequest:
        """Return Django's request for a handshake."""
        environ = {key: value for key, value in handshake.items() if key not in HANDSHAKE_ONLY}
        environ["wsgi.input"] = io.BytesIO()
        environ["REQUEST_METHOD"] = "GET"
        made = self.handler.request_class(environ)
        for middleware in self._middleware:
            middleware.process_request(made)
        if _USER_ID not in handshake and hasattr(made, "session"):
            # The session that it has read is the one that layers will see.
            handshake[_USER_ID] = made.session.get("_auth_user_id")
        return made

    def user_id(self, environ: dict[str, Any]) -> str | None:
        """Return the id of the user on a page."""
        if _USER_ID not in environ:
            self.make_request(environ)
        found: str | None = environ.get(_USER_ID)
        return found

    def save_session(self, made: HttpRequest) -> None:
        """Save the session of a request, if there is one that was changed, where it is kept."""
        session = getattr(made, "session", None)
        if session is None:
            return
        if session.modified and not session.is_empty():
            cookie = made.COOKIES.get(settings.SESSION_COOKIE_NAME)
            if cookie is None or session.session_key != cookie or _is_cookie(session):
                log.warning("a change of a session is lost: no cookie can be set here")
                return
        try:
            for middleware in reversed(self._middleware):
                if hasattr(middleware, "process_response"):
                    middleware.process_response(made, HttpResponse())
        except SessionInterrupted:
            log.warning("a change of a session is lost: the session has ended meanwhile")

    @functools.cached_property
    def _middleware(self) -> list[Any]:
        """What gives a request its session and its user, as ``settings.MIDDLEWARE`` has it."""
        listed = [import_string(path) for path in settings.MIDDLEWARE]
        kinds = tuple(
            getattr(sys.modules[module], name)
            for module, name in (
                ("django.contrib.sessions.middleware", "SessionMiddleware"),
                ("django.contrib.auth.middleware", "AuthenticationMiddleware"),
            )
            if module in sys.modules  # importing them asks for their models to be installed
        )
        return [
            middleware(lambda made: HttpResponse())
            for middleware in listed
            if isinstance(middleware, type) and issubclass(middleware, kinds)
        ]


class _LayerRequest:
    """A client's request: it begins and ends with the signals that a view's does.

    With them Django closes and replaces database connections, and forgets the queries of the last
    request. In the midst of a transaction, as in a test, the connections belong to that.
    """

    __slots__ = ("_application", "_handshake", "_made", "_sent", "_token")

    def __init__(self, application: DjangoApplication, handshake: dict[str, Any]) -> None:
        self._application = application
        self._handshake = handshake
        self._made: HttpRequest | None = None
        self._token: Token[_LayerRequest] | None = None
        self._sent = False

    @property
    def request(self) -> HttpRequest:
        """Django's request, made when it is first asked for."""
        if self._made is None:
            self._made = self._application.make_request(self._handshake)
        return self._made

    def __enter__(self) -> None:
        set_script_prefix(get_script_name(self._handshake))
        if not any(one.in_atomic_block for one in connections.all(initialized_only=True)):
            self._sent = True
            signals.request_started.send(
                sender=type(self._application.handler), environ=self._handshake
            )
        self._token = _current.set(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._made is not None and (err is None or errors.client_error(err) is not None):
                self._application.save_session(self._made)
        finally:
            assert self._token is not None
            _current.reset(self._token)
            if self._sent:
                signals.request_finished.send(sender=type(self._application.handler))


class _ServerCode:
    """A request of server code: a view's connections stay, those of a bare thread do not."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _open_connections()

    def __exit__(self, *exc_info: object) -> None:
        for one in _open_connections():
            if one in self._before:
                if one.errors_occurred and not one.in_atomic_block and not one.is_usable():
                    one.close()
            else:
                one.close_if_unusable_or_obsolete()


def _open_connections() -> list[Any]:
    """Return this thread's connections to databases that are open."""
    return [one for one in connections.all(initialized_only=True) if one.connection is not None]


def _is_cookie(session: Any) -> bool:
    """Whether the browser's cookie is all there is of a session."""
    module = sys.modules.get("django.contrib.sessions.backends.signed_cookies")
    return module is not None and isinstance(session, module.SessionStore)
