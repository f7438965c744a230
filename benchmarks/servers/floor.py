"""The floor: a bare loop of send over all sockets, with no protocol and nothing else to do."""

from __future__ import annotations

import os
import select
import socket
import sys

# What servers send for one change.
FRAME = (
    b"\x81\x7e\x00\x80"
    + b'42/messages,["synced","update",{"id":1,"text":"The quick brown fox '
    b'jumps over the lazy dog !"},{"rev":1000000,"channel":null}]'.ljust(128)
)


def main(port: int) -> None:
    server = socket.create_server(("127.0.0.1", port), backlog=1024)
    clients: dict[int, socket.socket] = {}
    epoll = select.epoll()
    epoll.register(server.fileno(), select.EPOLLIN)
    while True:
        for fd, _ in epoll.poll():
            if fd == server.fileno():
                client, _ = server.accept()
                path = client.recv(4096).split(b" ", 2)[1]
                if path == b"/":
                    client.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                    clients[client.fileno()] = client
                    epoll.register(client.fileno(), select.EPOLLIN)
                    continue
                if path.startswith(b"/emit/"):
                    tell(clients, int(path[6:]))
                body = b"%d" % os.getpid()
                client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                client.close()
            elif clients[fd].recv(4096):
                tell(clients, 1)
            else:
                epoll.unregister(fd)
                clients.pop(fd).close()


def tell(clients: dict[int, socket.socket], times: int) -> None:
    for _ in range(times):
        for client in clients.values():
            client.send(FRAME)


main(int(sys.argv[1]))
