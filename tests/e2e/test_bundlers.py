"""What the guide to bundlers shows, built in an empty project, and opened in two windows."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import flask
import pytest

import backboneio

from ..docs.blocks import blocks
from ..support import ROOT, LiveServer
from .conftest import Window

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = """<!doctype html><html lang="en"><title>Tasks</title><link rel="icon" href="data:,">
<ul></ul><script type="module" src="{}"></script></html>"""
# What the page of the guide leaves to its reader: to show the collection, and to add to it.
SHOW = """
const list = document.querySelector('ul');
tasks.on('update reset', () => {
  list.textContent = tasks.map(task => task.get('title')).join();
});
list.onclick = () => tasks.create({title: 'one of a bundle'}, {wait: true});
"""
BUILD = {
    "vite": ("vite build --outDir built", "/src/main.mjs"),
    "webpack": ("webpack --mode development --output-path built", "main.js"),
}


def run(command: str, folder: Path) -> None:
    done = subprocess.run(
        command.split(), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project, with our package as npm packs it, and both bundlers."""
    package, folder = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "js" / "package.json", package)
    shutil.copy(ROOT / "js" / "backbone.io.d.ts", package)
    shutil.copytree(ROOT / "js" / "dist", package / "dist")
    run(f"npm pack --silent --ignore-scripts --pack-destination {folder}", package)
    (folder / "package.json").write_text('{"private": true, "type": "commonjs"}')
    (packed,) = folder.glob("*.tgz")
    (command,) = re.findall(
        r"`npm install \./backbone\.io-client-\*\.tgz ([^`]+)`",
        " ".join((ROOT / "docs" / "howto" / "bundlers.md").read_text().split()),
    )
    tools = "vite@8 webpack@5 webpack-cli@7"
    run(f"npm install --no-audit --no-fund {packed} {command} {tools}", folder)
    main, vite, webpack = blocks("howto/bundlers.md", "javascript")
    (folder / "src").mkdir()
    (folder / "src" / "main.mjs").write_text(main.text + SHOW)
    (folder / "vite.config.mjs").write_text(vite.text)
    (folder / "webpack.config.js").write_text(webpack.text)
    return folder


@pytest.mark.parametrize("bundler", sorted(BUILD))
def test_what_the_guide_shows_is_live(
    bundler: str, project: Path, serve: Callable[..., LiveServer], window: Window
) -> None:
    command, script = BUILD[bundler]
    shutil.rmtree(project / "built", ignore_errors=True)
    (project / "index.html").write_text(PAGE.format(script))
    run(f"npx --no-install {command}", project)
    if bundler == "webpack":
        shutil.copy(project / "index.html", project / "built")
    app = flask.Flask("bundled", static_folder=project / "built", static_url_path="")
    live = backboneio.Backbone(app)
    live.backend("tasks").use(backboneio.middleware.memory_store())
    url = serve(app).url
    is_live(window, f"{url}/index.html")


def is_live(window: Window, url: str) -> None:
    ann, bob = window(url), window(url)
    for page in (ann, bob):
        page.wait_for_function("!!document.querySelector('ul').onclick")
    ann.locator("ul").dispatch_event("click")
    for page in (ann, bob):
        page.wait_for_function("document.querySelector('ul').textContent === 'one of a bundle'")


def test_vite_passes_the_sockets_on(
    project: Path, serve: Callable[..., LiveServer], window: Window
) -> None:
    """While one develops: its server has the page, and the application has the sockets."""
    app = flask.Flask("developed")
    backboneio.Backbone(app).backend("tasks").use(backboneio.middleware.memory_store())
    (project / "index.html").write_text(PAGE.format("/src/main.mjs"))
    config = (project / "vite.config.mjs").read_text()
    assert config.count("http://127.0.0.1:5000") == 2
    (project / "developed.mjs").write_text(config.replace("http://127.0.0.1:5000", serve(app).url))
    command = "node_modules/.bin/vite --config developed.mjs --host 127.0.0.1 --port 0"
    with subprocess.Popen(
        command.split(), cwd=project, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            found = (
                re.search(r"http://127\.0\.0\.1:\d+", re.sub(r"\x1b\[\d+m", "", line))
                for line in server.stdout
            )
            url = next(filter(None, found))[0]
            is_live(window, url)
        finally:
            server.kill()
