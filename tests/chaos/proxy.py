"""A TCP proxy that breaks what goes through it, by a schedule that the seed decides.

Every client has a port of its own, so that a fault hits one client. The faults:

``cut``        close the connection
``herd``       close everybody's
``tear-up``    pass on a part of the next data from the client, then close
``tear-down``  the same in the other direction
``lose-ack``   pass on everything up to the next ack of the server, then close: committed, not told
``send-cut``   pass on the next data from the client, then close at once
``pause``      hold everything back for a while
``stall``      the same, then close
``slow``       pass on a few bytes at a time
``refuse``     close, and close new connections at once for a while

Half of the closes are orderly (FIN), half are resets (RST).
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from contextlib import suppress
from random import Random
from typing import Any

from .history import History

#: An ack on its way to a client: Engine.IO message, Socket.IO ack, namespace. Servers do not mask.
ACK = b"43/items,"
FAULTS = {
    "cut": 4,
    "herd": 0.3,
    "tear-up": 3,
    "tear-down": 3,
    "lose-ack": 5,
    "send-cut": 5,
    "pause": 3,
    "stall": 1,
    "slow": 2,
    "refuse": 3,
}


class Port:
    """One client's way to the server."""

    def __init__(self) -> None:
        self.links: set[Link] = set()
        self.flow = asyncio.Event()
        self.flow.set()
        self.trap: str | None = None
        self.slow = False
        self.refusing = False

    def cut(self, reset: bool) -> None:
        self.trap = None
        for link in list(self.links):
            link.cut(reset)

    def heal(self) -> None:
        self.trap = None
        self.slow = self.refusing = False
        self.flow.set()


class Link:
    """One connection: two pumps."""

    def __init__(self, port: Port, chance: Random, *ends: asyncio.StreamWriter) -> None:
        self.port = port
        self.chance = chance
        self.ends = ends

    def cut(self, reset: bool) -> None:
        for end in self.ends:
            if reset:
                with suppress(OSError):
                    end.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                end.transport.abort()
            else:
                end.close()

    async def pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool
    ) -> None:
        port = self.port
        while data := await reader.read(65536):
            await port.flow.wait()
            torn = self.spring(data, up)
            if torn is not None:
                writer.write(torn)
                with suppress(TimeoutError):
                    await asyncio.wait_for(writer.drain(), 1)
                # What was let through has to arrive, so this is no reset.
                port.cut(reset=False)
                return
            while port.slow and len(data) > 40:
                writer.write(data[:40])
                data = data[40:]
                await asyncio.sleep(0.002)
            writer.write(data)
            await writer.drain()

    def spring(self, data: bytes, up: bool) -> bytes | None:
        """Return what is to be let through, last of all, when a trap waits for this data."""
        trap = self.port.trap
        if trap == ("tear-up" if up else "tear-down"):
            return data[: self.chance.randrange(len(data))]
        if trap == "send-cut" and up:
            return data
        if trap == "lose-ack" and not up and ACK in data:
            # With a part of the ack, or none.
            return data[: data.index(ACK) + self.chance.choice((0, len(ACK), len(ACK) + 5))]
        return None

    async def run(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.port.links.add(self)
        pumps = [
            asyncio.ensure_future(self.pump(client[0], server[1], True)),
            asyncio.ensure_future(self.pump(server[0], client[1], False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.port.links.discard(self)
            self.cut(reset=False)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)


class Proxy:
    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.history = History(config["history"])
        self.chance = Random(f"{config['seed']}/tears")
        self.ports: list[Port] = []
        self.timers: set[asyncio.Task[None]] = set()

    async def listen(self) -> list[int]:
        numbers = []
        for _ in range(self.config["clients"]):
            port = Port()
            server = await asyncio.start_server(self.handler(port), "127.0.0.1", 0, backlog=128)
            self.ports.append(port)
            numbers.append(server.sockets[0].getsockname()[1])
        return numbers

    def handler(self, port: Port) -> Any:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if port.refusing:
                writer.transport.abort()
                return
            try:
                server = await asyncio.open_connection("127.0.0.1", self.config["server"])
            except OSError:
                writer.transport.abort()
                return
            with suppress(OSError, asyncio.CancelledError):
                await Link(port, self.chance, writer, server[1]).run((reader, writer), server)

        return accept

    async def make_faults(self) -> None:
        """Follow the schedule until cancelled. Every step draws the same numbers."""
        chance = Random(f"{self.config['seed']}/faults")
        names, weights = list(FAULTS), list(FAULTS.values())
        while True:
            wait = chance.expovariate(self.config["faults_per_second"])
            index = chance.randrange(len(self.ports))
            fault = chance.choices(names, weights)[0]
            seconds = chance.choice((0.05, 0.2, 0.5, 1.5))
            reset = chance.random() < 0.5
            await asyncio.sleep(wait)
            self.history.add("proxy", "fault", client=index, fault=fault, seconds=seconds)
            self.make_fault(self.ports[index], fault, seconds, reset)

    def make_fault(self, port: Port, fault: str, seconds: float, reset: bool) -> None:
        if fault == "cut":
            port.cut(reset)
        elif fault == "herd":
            for other in self.ports:
                other.cut(reset)
        elif fault == "refuse":
            port.refusing = True
            port.cut(reset)
            self.after(seconds, port.heal)
        elif fault in ("pause", "stall"):
            port.flow.clear()
            if fault == "stall":
                self.after(seconds, lambda: port.cut(reset))
            self.after(seconds, port.heal)
        elif fault == "slow":
            port.slow = True
            self.after(seconds, port.heal)
        else:
            port.trap = fault

    def after(self, seconds: float, action: Any) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            action()

        task = asyncio.ensure_future(wait())
        self.timers.add(task)
        task.add_done_callback(self.timers.discard)


async def serve(config: dict[str, Any]) -> None:
    proxy = Proxy(config)
    print(json.dumps({"ports": await proxy.listen()}), flush=True)  # noqa: T201
    loop = asyncio.get_running_loop()
    faults: asyncio.Task[None] | None = None
    # The commands are "chaos" and "calm"; the end of input is the end.
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if faults is not None:
            faults.cancel()
            faults = None
        if line.strip() == "chaos":
            faults = asyncio.ensure_future(proxy.make_faults())
        for timer in list(proxy.timers):
            timer.cancel()
        for port in proxy.ports:
            port.heal()
        print("{}", flush=True)  # noqa: T201


def main() -> None:
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
