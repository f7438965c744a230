"""The Python clients of a run: a process with several, each making the requests of its seed."""

from __future__ import annotations

import faulthandler
import json
import sys
import threading
import time
from random import Random
from typing import Any

from .app import plain
from .client import Client, Request
from .history import History

#: Requests of one client that may wait for answers at once.
WINDOW = 6
PATIENCE = 60.0

METHODS = {
    "update": 30,
    "patch": 24,
    "create": 14,
    "delete": 9,
    "read": 10,
    "read-all": 5,
    "new": 3,
    "rejoin": 5,
}


def work(client: Client, config: dict[str, Any]) -> None:
    """Make the requests of one client."""
    chance = Random(f"{config['seed']}/{client.name}")
    attributes = config["attributes"]
    names, weights = list(METHODS), list(METHODS.values())
    for number in range(1, config["requests"] + 1):
        method = chance.choices(names, weights)[0]
        channel = chance.choice(list(client.channels))
        model_id: Any = plain(chance.choice(config["hot"][channel or ""]))
        pause = chance.uniform(0, 0.06)
        token = f"{client.name}-{number}"
        if method == "rejoin":
            client.rejoin(channel)
            continue
        model: dict[str, Any] = {"id": model_id}
        if method in ("update", "create", "new"):
            some = chance.sample(attributes, len(attributes) * 5 // 8)  # the others are gone
            model |= {name: chance.choice((number, str(number), None)) for name in some}
        elif method == "patch":
            model[chance.choice(attributes[1:])] = number
        if method in ("read-all", "new"):
            del model["id"]
        method = {"read-all": "read", "new": "create"}.get(method, method)
        if not client.wait(lambda: len(client.pending) < WINDOW, PATIENCE):
            return
        client.request(Request(token, method, channel, model))
        time.sleep(pause)


def tell(**said: Any) -> None:
    print(json.dumps(said), flush=True)  # noqa: T201


def main() -> None:
    """Run the clients of the configuration in argv; the chaos suite's side is ``run.py``."""
    config = json.loads(sys.argv[1])
    seed = config["seed"]
    history = History(config["history"])
    clients = [
        Client(
            one["name"],
            f"http://127.0.0.1:{one['port']}",
            one["channels"],
            history,
            seed=seed,
            transports=one["transports"],
        )
        for one in config["clients"]
    ]
    for client in clients:
        client.wait(lambda c=client: all(one.joined for one in c.channels.values()), PATIENCE)
    tell(said="ready")
    sys.stdin.readline()  # "go"
    threads = [threading.Thread(target=work, args=(client, config)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tell(said="made")
    sys.stdin.readline()  # "drain"
    stuck = [c.name for c in clients if not c.wait(lambda c=c: not c.pending, config["patience"])]
    if stuck:
        faulthandler.dump_traceback()  # into the log
    tell(said="drained", stuck=stuck)
    sys.stdin.readline()  # "fence"
    for client in clients:
        client.wait(lambda c=client: fenced(c, config["fences"]), config["patience"])
        with client.lock:
            for channel in client.channels.values():
                history.add(client.name, "final", channel=channel.name, models=channel.models)
    tell(said="final")
    sys.stdin.readline()
    for client in clients:
        client.close()


def fenced(client: Client, fences: dict[str, Any]) -> bool:
    return not client.pending and all(
        not channel.stale and str(fences[channel.name or ""]) in channel.models
        for channel in client.channels.values()
    )


if __name__ == "__main__":
    main()
