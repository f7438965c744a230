"""The real JavaScript client, in Node, against a live server."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import flask
import pytest

import backboneio

HERE = pathlib.Path(__file__).parent

pytestmark = pytest.mark.slow


@pytest.fixture
def play(app: flask.Flask, messages: backboneio.Backend, serve: Any) -> Any:
    """Play a scenario of javascript.js and return what it found."""

    @messages.use("create", "update")
    def validate(req: Any, res: Any, next: Any) -> None:
        if req.model.get("text") == "":
            raise backboneio.Invalid(fields={"text": "must not be empty"})
        next()

    @messages.use("archive")
    def archive(req: Any, res: Any) -> None:
        res.end({**req.model, "archived": True})

    messages.use(backboneio.middleware.memory_store())
    secret = backboneio.create_backend()

    @secret.use
    def nobody(req: Any, res: Any, next: Any) -> None:
        raise backboneio.Unauthorized("log in first")

    @app.get("/emit/<event>")
    def emit(event: str) -> str:
        messages.emit(event, {"id": "server", "text": "from a view"})
        return ""

    @app.get("/many")
    def many() -> str:
        for number in range(30):
            messages.call("create", {"text": f"number {number}"})
        return ""

    def play(scenario: str, **options: Any) -> Any:
        backboneio.listen(app, {"messages": messages, "secret": secret}, **options)
        command = ["node", str(HERE / "javascript.js"), scenario, serve(app).url]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    return play


@pytest.mark.parametrize("transport", ["hub", "threads"])
def test_changes_appear_on_the_other_page(play: Any, transport: str) -> None:
    found = play("crud", transport=transport)
    patched = {"id": 1, "text": "ho", "more": 1}
    assert found["steps"] == [
        ["create", {"id": 1, "text": "hi"}, [{"id": 1, "text": "hi"}]],
        ["update", {"id": 1, "text": "ho"}, [{"id": 1, "text": "ho"}]],
        ["patch", patched, [patched]],
        ["delete", "delete", patched, []],
    ]
    assert found["ada"] == []


def test_an_attribute_that_is_taken_away_goes_away_everywhere(play: Any) -> None:
    row = {"id": 1, "text": "ho", "big": "9007199254740993"}
    assert play("whole") == {"ada": [row], "eve": [{**row, "own": True}]}


def test_channels_of_one_page_do_not_mix(play: Any) -> None:
    assert play("channels") == {"room": 1, "hall": 0}


def test_errors_reach_models_and_collections(play: Any) -> None:
    found = play("errors")
    assert found["refused"] == {"error": {"name": "Unauthorized", "message": "log in first"}}
    assert found["missing"]["error"]["name"] == "NotFound"
    assert found["invalid"]["error"]["name"] == "Invalid"
    assert found["invalid"]["error"]["fields"] == {"text": ["must not be empty"]}
    assert found["length"] == 0


def test_custom_methods(play: Any) -> None:
    expected = {"id": 1, "text": "old", "archived": True}
    assert play("custom") == {"answer": expected, "announced": expected}


def test_the_prefix_of_events_comes_from_the_server(play: Any) -> None:
    assert play("prefix", event="changed")["told"] == {"id": 1, "text": "hi"}


def test_server_code_emits_to_the_page(play: Any) -> None:
    assert play("emit") == {"created": [{"id": "server", "text": "from a view"}], "left": []}


def test_a_page_that_was_offline_gets_what_it_missed_and_sends_what_it_saved(play: Any) -> None:
    models = play("reconnect")["models"]
    assert sorted(model["text"] for model in models) == ["from a view", "written offline"]
    assert all("id" in model for model in models)


def test_a_page_that_was_offline_too_long_fetches_anew(play: Any) -> None:
    found = play("reset", limits=backboneio.Limits(max_changes=5))
    assert found == {"length": 30}
