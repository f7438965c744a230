"""Our own ``socketio.Server``s: one on the epoll hub, one on python-engineio's threads."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from typing import Any

import engineio
import socketio

from .. import transport
from ..options import refuse_unknown
from ..transport.limits import LIMIT_OPTIONS
from . import threads
from .hooks import Hooks
from .manager import Manager

logger = logging.getLogger("backboneio.socketio")

_TRANSPORTS = ("auto", "hub", "threads")


class HookedServer(socketio.Server):  # type: ignore[misc]
    """A ``socketio.Server`` that backends may be served on: see :class:`Hooks`."""

    def __init__(self, **options: Any) -> None:
        if options.get("client_manager") is None:
            options["client_manager"] = Manager()
        super().__init__(**options)
        self._backboneio = Hooks(self)

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        self._backboneio.handle_connect(super()._handle_connect, eio_sid, namespace, data)

    def _handle_event(self, eio_sid: str, namespace: str | None, id: Any, data: Any) -> None:
        self._backboneio.handle_event(super()._handle_event, eio_sid, namespace, id, data)

    def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        self._backboneio.handle_eio_disconnect(super()._handle_eio_disconnect, eio_sid, reason)

    def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        self._backboneio.send_packet(super()._send_packet, eio_sid, pkt)

    def _send_eio_packet(self, eio_sid: str, eio_pkt: Any) -> None:
        self._backboneio.send_eio_packet(super()._send_eio_packet, eio_sid, eio_pkt)

    def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        return self._backboneio.trigger_event(super()._trigger_event, event, namespace, *args)


class HubServer(HookedServer):
    """A ``socketio.Server`` on the epoll hub: its clients cost memory, not threads."""

    def _engineio_server_class(self) -> type[transport.Server]:
        return transport.Server


class ThreadsServer(HookedServer):
    """A ``socketio.Server`` on python-engineio's threads."""

    def _engineio_server_class(self) -> type[engineio.Server]:
        return threads.Engine


def make_server(transport_name: str = "auto", **options: Any) -> socketio.Server:
    """Return a ``socketio.Server`` for blocking handlers on threads.

    :param transport_name: ``"hub"`` for the epoll hub, ``"threads"`` for python-engineio's
        threading mode, ``"auto"`` for the hub where it can serve and a log line where it cannot.
    :param options: those of ``socketio.Server`` and of the transport.
    :raises ValueError: for any other transport, or an option that nobody knows.
    :raises RuntimeError: for ``"hub"`` where it cannot serve.
    """
    if transport_name not in _TRANSPORTS:
        raise ValueError(f"transport: 'auto', 'hub' or 'threads', not {transport_name!r}")
    refuse_unknown(options, known_options())
    options.setdefault("async_mode", "threading")
    options.setdefault("async_handlers", False)
    problem = None if transport_name == "threads" else transport.why_not()
    if transport_name == "hub" and problem is not None:
        raise RuntimeError(f"the hub cannot serve here: {problem}")
    if transport_name == "threads" or problem is not None:
        if problem is not None:
            logger.warning("python-engineio's threads serve the clients: %s", problem)
        chosen = {name: options.pop(name) for name in LIMIT_OPTIONS & options.keys()}
        limits = options.get("limits") or transport.TransportLimits()
        options["limits"] = dataclasses.replace(limits, **chosen)
        _warn_of_limits(options["limits"])
        return ThreadsServer(**options)
    return HubServer(**options)


def _warn_of_limits(limits: transport.TransportLimits) -> None:
    """Say which limits are not kept on threads though they are not the default."""
    usual = transport.TransportLimits()
    names = [field.name for field in dataclasses.fields(limits) if field.name not in threads.KEPT]
    lost = [name for name in names if getattr(limits, name) != getattr(usual, name)]
    if lost:
        logger.warning(
            "python-engineio's threads do not keep the limits of the hub alone: %s", ", ".join(lost)
        )


def known_options() -> set[str]:
    """All options that ``socketio.Server`` and the transports have."""
    known = {"engineio_logger", "limits"} | LIMIT_OPTIONS
    # BaseServer, since socketio.Server hands on all that it is given.
    for function in (socketio.base_server.BaseServer, transport.Server, engineio.Server):
        known |= {
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        }
    return known


def stats(sio: socketio.Server) -> dict[str, Any]:
    """Return the transport's figures."""
    if isinstance(sio.eio, transport.Server):
        return {"transport": "hub", **sio.eio.stats()}
    return {"transport": "threads", "connections": len(sio.eio.sockets)}
