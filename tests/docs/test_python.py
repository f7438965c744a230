"""The Python in the pages runs."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from .blocks import runnable

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("page", ["../README.md", *runnable("python")])
def test_a_page(play: Any, page: str, caplog: pytest.LogCaptureFixture) -> None:
    play(page)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_bad_block_is_found(
    play: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the line of the page that it is on."""
    (tmp_path / "bad.md").write_text("# Bad\n\n```python\nmessages.sue(layer)\n```\n")
    monkeypatch.setattr("tests.docs.blocks.DOCS", tmp_path)
    with pytest.raises(AttributeError) as raised:
        play("bad.md")
    assert (raised.traceback[-1].path, raised.traceback[-1].lineno) == (tmp_path / "bad.md", 3)
