"""The clients that people use: the JavaScript one in Node, and thousands of them."""

from __future__ import annotations

import json
import os
import pathlib
import resource
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import requests

from ..support import PATIENCE, ROOT, ServerProcess, wait_until
from .support import Raw, gunicorn

NODE = shutil.which("node")
MODULES = pathlib.Path(os.environ.get("SOCKET_IO_CLIENT", ROOT / "js" / "node_modules"))

CLIENT = """
const { io } = require("socket.io-client");
const [url, transports] = [process.argv[1], JSON.parse(process.argv[2])];
const socket = io(url, { transports, reconnectionDelay: 50, reconnectionDelayMax: 200 });
let connects = 0;
const check = async () => {
  for (const data of ["hello", { a: [1, null] }, "x".repeat(100000)]) {
    const answer = await socket.timeout(10000).emitWithAck("message-with-ack", data);
    if (JSON.stringify(answer) !== JSON.stringify(data)) throw new Error("not the same");
  }
  const binary = await socket.timeout(10000).emitWithAck("message-with-ack", Buffer.from([0, 255]));
  if (Buffer.compare(binary, Buffer.from([0, 255]))) throw new Error("not the same bytes");
  const news = new Promise((resolve) => socket.once("news", resolve));
  socket.emit("broadcast", { id: 1 });
  if ((await news).id !== 1) throw new Error("no news");
};
socket.on("connect", async () => {
  connects += 1;
  if (transports.length > 1 && socket.io.engine.transport.name === "polling")
    await new Promise((resolve) => socket.io.engine.once("upgrade", resolve));
  await check();
  console.log("checked", socket.io.engine.transport.name);
  if (connects === 2) socket.close();
});
socket.on("disconnect", (reason) => console.log("disconnect", reason));
process.on("unhandledRejection", (error) => { console.log(error); process.exit(1); });
"""


@pytest.mark.parametrize(
    "transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="-".join
)
def test_javascript_client_comes_back_after_a_reload(transports: list[str]) -> None:
    assert NODE is not None, "this test needs Node in the PATH"
    assert (MODULES / "socket.io-client").exists(), "run npm install in js/ first"
    server = ServerProcess(*gunicorn("-k", "gthread", "--threads", "4", "tests.transport.app:app"))
    client = subprocess.Popen(
        [NODE, "-e", CLIENT, server.url, json.dumps(transports)],
        env={**os.environ, "NODE_PATH": str(MODULES)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    try:
        assert client.stdout.readline() == f"checked {transports[-1]}\n"
        server.process.send_signal(1)  # SIGHUP: new workers
        assert client.stdout.readline().startswith("disconnect transport ")
        assert client.stdout.readline() == f"checked {transports[-1]}\n"
        assert client.stdout.readline() == "disconnect io client disconnect\n"
        assert client.wait(PATIENCE) == 0
    finally:
        client.kill()
        client.wait()
        client.stdout.close()
        log = server.stop()
    assert "Traceback" not in log


@pytest.fixture
def many_files() -> Iterator[int]:
    """Allow this process and its children many open files; yields how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_five_thousand_clients(many_files: int) -> None:
    """They cost little memory and no threads; a page and a broadcast still come at once."""
    assert many_files > 5_500, "raise the hard limit of open files (ulimit -Hn) to run this"
    server = ServerProcess(
        *gunicorn("-k", "gthread", "--threads", "8", "tests.transport.app:app"),
        EIO_OPTIONS=json.dumps({"ping_interval": 300}),
    )
    raws: list[Raw] = []
    try:
        about = requests.get(server.url, timeout=PATIENCE).json()

        def memory() -> int:
            for line in pathlib.Path(f"/proc/{about['pid']}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
            raise AssertionError

        def connect() -> None:
            raw = Raw(server.url, path="/socket.io/")
            raw.open()
            raw.send("40")
            assert raw.packet().startswith("40")
            assert raw.packet() == '42["auth",{}]'
            raws.append(raw)

        for _ in range(100):
            connect()
        before = memory()
        for _ in range(4_900):
            connect()
        assert (memory() - before) / 4_900 < 16  # KB
        stats = requests.get(server.url, timeout=PATIENCE).json()
        assert stats["connections"] == 5_000
        assert len(stats["names"]) < 50
        raws[0].send('42["broadcast","all"]')
        for raw in raws:
            assert raw.packet() == '42["news","all"]'
        for raw in raws:
            raw.close()
        wait_until(lambda: requests.get(server.url, timeout=PATIENCE).json()["connections"] == 0)
        wait_until(
            lambda: requests.get(server.url, timeout=PATIENCE).json()["fds"] <= about["fds"] + 5
        )
    finally:
        for raw in raws:
            raw.close()
        server.stop()
