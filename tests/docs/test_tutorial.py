"""The tutorial: its pages show what is in the files of their steps, and the steps work."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from ..support import ROOT, verified
from .blocks import DOCS, blocks

pytestmark = pytest.mark.slow

TUTORIAL = DOCS / "tutorial"
STEPS = range(1, 8)


def page(step: int) -> str:
    (path,) = TUTORIAL.glob(f"{step}-*.md")
    return path.relative_to(DOCS).as_posix()


def missing(shown: str, texts: list[str]) -> bool:
    """Whether what a page shows is nowhere in the files, in one piece."""
    return not any(f"\n{shown}" in f"\n{text}" for text in texts)


@pytest.mark.parametrize("step", STEPS)
def test_a_page_shows_what_is_in_its_files(step: int) -> None:
    files = [path for path in (TUTORIAL / f"step{step}").rglob("*") if path.suffix != ".pyc"]
    texts = [path.read_text() for path in files if path.is_file()]
    shown = blocks(page(step), "python", "javascript", "html", "ini", "nginx")
    assert shown
    wrong = [f"{page(step)}:{block.line}" for block in shown if missing(block.text, texts)]
    assert wrong == []


def test_what_is_not_in_a_file_is_found() -> None:
    assert missing("b\n", ["a\nb"]) and missing("b\n", ["ab\n"])
    assert not missing("b\n", ["a\nb\nc\n"])


def test_the_steps_follow_each_other() -> None:
    """Each page leads to the next, and the list of them has all."""
    listed = re.findall(r"^\| \[.*?\]\((.*?)\)", (TUTORIAL / "index.md").read_text(), re.M)
    assert [f"tutorial/{name}" for name in listed] == [page(step) for step in STEPS]
    for step in STEPS[:-1]:
        last = (DOCS / page(step)).read_text().splitlines()[-1]
        assert f"]({pathlib.Path(page(step + 1)).name})" in last


@pytest.mark.parametrize("step", [6, 7])
def test_its_tests_pass(step: int, tmp_path: pathlib.Path) -> None:
    folder = shutil.copytree(TUTORIAL / f"step{step}", tmp_path / "tasks")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", folder, folder],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


def test_systemd_takes_the_unit(tmp_path: pathlib.Path) -> None:
    unit = (TUTORIAL / "step7" / "deploy" / "tasks.service").read_text()
    assert verified(unit, tmp_path) == ""
    assert "Restrat" in verified(unit.replace("Restart", "Restrat"), tmp_path)
