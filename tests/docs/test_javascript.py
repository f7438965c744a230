"""The JavaScript and TypeScript in the pages: scripts run, modules parse, types hold."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import pytest

from ..support import ROOT
from .blocks import blocks, runnable

pytestmark = pytest.mark.slow

PLAYER = pathlib.Path(__file__).with_name("javascript.js")


def problems(scripts: list[dict[str, Any]]) -> list[str]:
    """Run scripts, those of one page in one window; return what was wrong."""
    done = subprocess.run(
        ["node", "--experimental-vm-modules", "--no-warnings", PLAYER],
        input=json.dumps(scripts),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return ["{page}:{line}: {error}".format(**failed) for failed in json.loads(done.stdout)]


def test_the_scripts_run() -> None:
    scripts = [
        {"page": page, "line": block.line, "text": block.text}
        for page in runnable("javascript")
        for block in blocks(page, "javascript")
    ]
    assert len(scripts) > 10
    assert problems(scripts) == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("new Backbone.Collection().bindBackends();", "bindBackends is not a function"),
        ("var a = {;", "SyntaxError"),
        ("import Backbone from 'backbone';\nconst a = ;", "SyntaxError"),
    ],
)
def test_a_bad_script_is_found(text: str, error: str) -> None:
    (problem,) = problems([{"page": "bad.md", "line": 7, "text": text}])
    assert problem.startswith("bad.md:7: ") and error in problem


def test_the_typed_example_is_the_one_that_is_compiled() -> None:
    (block,) = blocks("howto/typescript.md", "typescript")
    title, _, code = (ROOT / "js" / "tests" / "types" / "tasks.ts").read_text().partition("\n")
    assert title == "// The example of docs/howto/typescript.md."
    assert block.text == code
