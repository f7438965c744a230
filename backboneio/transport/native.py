"""Non-blocking send, receive and poll that keep the interpreter lock.

``socket.send`` gives the interpreter lock away around every system call. A send of a microsecond
then invites a CPU-bound thread in for a whole switch interval (5 ms), once per client of a
broadcast. ``ctypes.PyDLL`` calls the C library with the lock held; as every call here is made with
MSG_DONTWAIT, or a timeout of 0, it never waits, so keeping the lock is safe.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct
from collections.abc import Callable
from typing import Any

#: Bytes asked of the kernel at a time; a shorter answer means that the socket is drained.
RECEIVE_SIZE = 65536

#: Bytes offered to the kernel at a time when leftovers are sent.
SEND_SIZE = 262144

#: The sizes of nearly all messages, made once: to make one takes as long as to send.
_SMALL = 512
_SIZES = tuple(map(ctypes.c_size_t, range(_SMALL)))

#: How many descriptors one poll tells of.
MAX_EVENTS = 256

_RETRY = (errno.EAGAIN, errno.EWOULDBLOCK)
_DONTWAIT = int(getattr(socket, "MSG_DONTWAIT", 0))
_SEND_FLAGS = _DONTWAIT | int(getattr(socket, "MSG_NOSIGNAL", 0))


def _bind() -> tuple[Any, Any, Any]:
    """Return the C library's send, recv and epoll_wait.

    They have no `argtypes`, which would be asked for each argument of each call. So callers pass
    what is not an `int` or a pointer as what it is: every size as a `c_size_t`.
    """
    library = ctypes.PyDLL(None, use_errno=True)
    send, recv = library.send, library.recv
    send.restype = recv.restype = ctypes.c_ssize_t
    return send, recv, library.epoll_wait


try:
    _send, _recv, _epoll_wait = _bind()
    available = bool(_DONTWAIT)
except (OSError, AttributeError, TypeError):  # no dlopen, or not a POSIX system
    available = False


def send(fd: int, data: bytes) -> int:
    """Send what the kernel takes now; return the number of bytes, 0 when it takes none.

    :raises OSError: when the connection is broken.
    """
    while True:
        size = len(data)
        length = _SIZES[size] if size < _SMALL else ctypes.c_size_t(size)
        count: int = _send(fd, data, length, _SEND_FLAGS)
        if count >= 0:
            return count
        code = ctypes.get_errno()
        if code in _RETRY:
            return 0
        if code != errno.EINTR:
            raise OSError(code, "send failed")


def receiver() -> Callable[[int], bytes | None]:
    """Make a function ``receive(fd)`` with a buffer of its own (so: one per thread).

    It returns what has arrived (at most RECEIVE_SIZE bytes), None when nothing has, and b"" when
    the connection ended, in whichever way.
    """
    buffer: Any = ctypes.create_string_buffer(RECEIVE_SIZE)
    size = ctypes.c_size_t(RECEIVE_SIZE)

    def receive(fd: int) -> bytes | None:
        while True:
            count: int = _recv(fd, buffer, size, _DONTWAIT)
            if count >= 0:
                return buffer[:count]  # type: ignore[no-any-return]
            code = ctypes.get_errno()
            if code in _RETRY:
                return None
            if code != errno.EINTR:
                return b""

    return receive


def has_input(fd: int) -> bool:
    """Whether bytes have arrived that nobody has read yet (the end of a stream does not count)."""
    byte = ctypes.create_string_buffer(1)
    count: int = _recv(fd, byte, ctypes.c_size_t(1), _DONTWAIT | int(socket.MSG_PEEK))
    return count > 0


class _Event(ctypes.Structure):
    """What epoll_wait() writes: its man page's ``struct epoll_event``."""

    if platform.machine() in ("x86_64", "AMD64"):
        _pack_ = 1  # there alone: so that it is the same for programs of 32 bits
        _layout_ = "ms"  # which Python 3.14 wants to be told beside it
    _fields_ = (("mask", ctypes.c_uint32), ("data", ctypes.c_uint64))


#: The mask, and the descriptor, which are the first four bytes of the data.
_EVENT = struct.Struct(f"=I{_Event.data.offset - 4}xi4x")


def poller() -> Callable[[int], list[tuple[int, int]]]:
    """Make a function ``poll(epoll)`` with a buffer of its own (so: for one thread at a time).

    It returns (descriptor, events) of what is ready now on the epoll instance with that descriptor,
    at most MAX_EVENTS of them. To wait, and for errors, is for ``select.epoll``.
    """
    buffer: Any = ctypes.create_string_buffer(MAX_EVENTS * _EVENT.size)

    def poll(epoll: int) -> list[tuple[int, int]]:
        count: int = _epoll_wait(epoll, buffer, MAX_EVENTS, 0)
        if count <= 0:
            return []
        found = _EVENT.iter_unpack(buffer[: count * _EVENT.size])
        return [(fd, mask) for mask, fd in found]

    return poll
