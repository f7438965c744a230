"""The load generator: thousands of clients on raw sockets and one epoll, in one thread.

It has to cost less than what it measures. It parses nothing: it reads bytes and counts marks.
"""

from __future__ import annotations

import os
import random
import select
import socket
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from urllib.request import urlopen

from dialects import MARK, Dialect, Script

_SIZE = 65536
#: Clients per source address: each has about 28,000 ports, in use until a minute after the end.
_PER_ADDRESS = 5_000
#: Connections that are being opened at a time; less than the shortest accept queue of a server.
_OPENING = 50
_STALLED = 30.0

clock = time.perf_counter


class Stalled(Exception):
    """The server does not answer, or has closed connections."""


@dataclass
class Result:
    """What was counted, and how long it took; `busy` is the generator's share of one core."""

    seconds: float
    count: int = 0
    busy: float = 0.0
    latencies: list[float] = field(default_factory=list)


class _Meter:
    def __init__(self) -> None:
        self.started, self.cpu = clock(), time.process_time()

    def result(self, count: int = 0) -> Result:
        seconds = clock() - self.started
        return Result(seconds, count, (time.process_time() - self.cpu) / seconds)


class Load:
    """Clients of one server, or of several that are one to them.

    :param ports: where it listens on 127.0.0.1; clients take turns with them.
    """

    def __init__(self, ports: int | Sequence[int], dialect: Dialect) -> None:
        self._ports = (ports,) if isinstance(ports, int) else tuple(ports)
        self.dialect = dialect
        self.clients: list[socket.socket] = []
        self._epoll = select.epoll()

    def connect(self, count: int, channels: bool = False) -> Result:
        """Open connections until `count` clients listen.

        :param channels: give each client a channel of its own instead of one for all.
        """
        meter = _Meter()
        opening: dict[int, tuple[socket.socket, Script, bytes, bytes]] = {}
        ready: list[socket.socket] = []
        started = 0
        while len(ready) < count:
            while started < count and len(opening) < _OPENING:
                client = self._socket(started)
                script = self.dialect.opening(f"c{started}" if channels else None)
                started += 1
                data, marker = next(script)
                client.send(data)
                self._epoll.register(client.fileno(), select.EPOLLIN)
                opening[client.fileno()] = (client, script, marker, b"")
            for fd, data in self._arrivals():
                if fd not in opening:
                    continue  # what everybody is sent
                client, script, marker, before = opening.pop(fd)
                data = before + data
                if marker in data:
                    try:
                        answer, marker = script.send(data)
                    except StopIteration:
                        ready.append(client)
                        continue
                    client.send(answer)
                    data = b""
                opening[fd] = (client, script, marker, data)
        self.clients += ready
        return meter.result(count)

    def fan_out(self, emit: Callable[[], Callable[[], None]], burst: int, least: float) -> Result:
        """Let the server emit bursts until `least` seconds are over; count the deliveries.

        :param emit: begins a burst, and returns what waits for the answer to that.
        """
        meter = _Meter()
        total = 0
        while clock() - meter.started < least:
            finish = emit()
            missing = burst * len(self.clients)
            total += missing
            while missing > 0:
                for _, data in self._arrivals():
                    missing -= data.count(MARK)
            finish()
        return meter.result(total)

    def latency(self, rate: float, seconds: float) -> Result:
        """Let one client save `rate` times a second; take the time until each other one hears."""
        writer = self.clients[0].fileno()
        requests = self.dialect.requests("update", 1)
        sent: list[float] = []
        heard = {client.fileno(): 0 for client in self.clients}
        latencies = array("d")
        meter = _Meter()
        due, end = meter.started, meter.started + seconds
        expected = 0
        while due < end or len(latencies) < expected:
            now = clock()
            if due < end and now >= due:
                sent.append(now)
                os.write(writer, next(requests))
                expected += len(self.clients) - 1
                due += 1 / rate
                continue
            for fd, data in self._arrivals(due - now if due < end else _STALLED):
                now = clock()
                if fd != writer:
                    for index in range(heard[fd], heard[fd] + data.count(MARK)):
                        latencies.append(now - sent[index])
                        heard[fd] = index + 1
        result = meter.result(len(latencies))
        result.latencies = sorted(latencies)
        return result

    def hear(self, act: Callable[[], object], times: int, pause: float) -> Result:
        """Do something that all clients are told of; take the time until each one has heard.

        :param pause: seconds between two times at most, at random: servers look now and then.
        """
        latencies = array("d")
        meter = _Meter()
        for _ in range(times):
            self.idle(random.uniform(0, pause))
            started = clock()
            act()
            missing = len(self.clients)
            while missing > 0:
                for _, data in self._arrivals():
                    heard = data.count(MARK)
                    latencies.extend([clock() - started] * heard)
                    missing -= heard
        result = meter.result(len(latencies))
        result.latencies = sorted(latencies)
        return result

    def sync(self, method: str, seconds: float, ahead: int = 1) -> Result:
        """Let every client send requests; count the answers.

        :param ahead: how many each one has under way. With one, it waits for each answer.
        """
        ack = self.dialect.ack
        requests = {
            client.fileno(): self.dialect.requests(method, number + 1)
            for number, client in enumerate(self.clients)
        }
        answers = 0
        meter = _Meter()
        end = meter.started + seconds
        for fd, own in requests.items():
            os.write(fd, b"".join(islice(own, ahead)))
        waiting = ahead * len(requests)
        while waiting:
            for fd, data in self._arrivals():
                found = data.count(ack)
                if found:
                    answers += found
                    if clock() < end:
                        os.write(fd, b"".join(islice(requests[fd], found)))
                    else:
                        waiting -= found
        return meter.result(answers)

    def idle(self, seconds: float) -> None:
        """Read what comes for a while."""
        end = clock() + seconds
        while (left := end - clock()) > 0:
            for _ in self._arrivals(left):
                pass

    def close(self) -> None:
        """Close all connections, which leaves no port waiting (SO_LINGER 0)."""
        self._epoll.close()
        for client in self.clients:
            client.close()
        self.clients = []

    def _socket(self, number: int) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.bind((f"127.0.0.{2 + number // _PER_ADDRESS}", 0))
        client.settimeout(_STALLED)
        client.connect(("127.0.0.1", self._ports[number % len(self._ports)]))
        return client

    def _arrivals(self, timeout: float | None = None):  # a generator: calls cost
        """Yield (file descriptor, bytes) of what has arrived, and answer pings.

        :raises Stalled: when nothing arrives for long and no `timeout` was given.
        """
        ping, pong = self.dialect.ping, self.dialect.pong
        read = os.read
        events = self._epoll.poll(_STALLED if timeout is None else timeout, 1024)
        if not events and (timeout is None or timeout >= _STALLED):
            raise Stalled(f"nothing arrived for {_STALLED:.0f} s")
        for fd, _ in events:
            data = read(fd, _SIZE)
            if ping in data:
                os.write(fd, pong)
            elif len(data) == _SIZE:
                data += read(fd, _SIZE)
            if not data:
                raise Stalled("the server has closed a connection")
            yield fd, data


def page(port: int, path: str = "page") -> str:
    """Ask a server for an ordinary page, on a connection of its own."""
    with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=_STALLED) as answer:
        text: str = answer.read().decode()
        return text


def page_times(port: int, count: int) -> list[float]:
    """Return the sorted times that `count` requests for a page took, one after the other."""
    times = []
    for _ in range(count):
        started = clock()
        page(port)
        times.append(clock() - started)
    return sorted(times)


def begin_page(port: int, path: str) -> Callable[[], None]:
    """Ask for a page; return what waits for the answer."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=_STALLED)
    connection.sendall(f"GET /{path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())

    def finish() -> None:
        while connection.recv(_SIZE):
            pass
        connection.close()

    return finish
