"""The sdist and the wheel: what is inside, and that an empty environment without node serves it."""

from __future__ import annotations

import configparser
import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

import backboneio
from backboneio.client_files import ClientFiles

pytestmark = [pytest.mark.package, pytest.mark.timeout(600)]

CHECKOUT = Path(__file__).parents[1]
NAME = f"backboneio-{backboneio.__version__}"
CLIENT = {f"backboneio/client/{name}" for name in ClientFiles.names}
NOT_COPIED = (".*", "node_modules", "client", "build", "dist", "*.egg-info", "__pycache__")

APPLICATION = """
import flask, backboneio
from werkzeug.serving import make_server

app = flask.Flask("tiny")
messages = backboneio.create_backend()
messages.use(backboneio.middleware.memory_store())
app.wsgi_app = backboneio.WSGIApp(app, {"messages": messages})
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run a command; its output is what a failure shows."""
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def without_node(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables of a machine that has no node, nor anything else in its PATH."""
    return {**os.environ, "PATH": str(tmp_path_factory.mktemp("empty"))}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as a clone would have it: nothing built, nothing installed."""
    tree = tmp_path_factory.mktemp("tree") / "backboneio"
    return Path(shutil.copytree(CHECKOUT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED)))


@pytest.fixture(scope="module")
def sdist(tree: Path) -> Path:
    run(sys.executable, "-m", "build", "--sdist", tree)
    return tree / "dist" / f"{NAME}.tar.gz"


@pytest.fixture(scope="module")
def wheel(
    sdist: Path, without_node: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The wheel, built from the unpacked sdist where there is no node."""
    directory = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory)
    run(sys.executable, "-m", "build", "--wheel", directory / NAME, env=without_node)
    return directory / NAME / "dist" / f"{NAME}-py3-none-any.whl"


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment into which only the wheel was installed."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    run(python, "-m", "pip", "install", wheel)
    return python


@pytest.fixture
def url(python: Path, without_node: dict[str, str]) -> Iterator[str]:
    """The address of a small Flask application that runs in that environment."""
    command = [python, "-I", "-c", APPLICATION]
    with subprocess.Popen(command, env=without_node, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def test_the_sdist_has_what_it_takes_to_build_it(sdist: Path, tree: Path) -> None:
    with tarfile.open(sdist) as archive:
        files = {member.name.removeprefix(f"{NAME}/"): member for member in archive}
        script = archive.extractfile(f"{NAME}/backboneio/client/backbone.io.js")
        assert script is not None
        assert script.read() == (tree / "js" / "dist" / "backbone.io.js").read_bytes()
    assert all(member.isfile() or member.isdir() for member in files.values()), "no links"
    assert files.keys() >= CLIENT
    assert files.keys() >= {"setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"}
    assert not [name for name in files if name.startswith(("js/", "tests/", "node_modules"))]


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path, tree: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
    modules = {
        str(path.relative_to(tree))
        for path in (tree / "backboneio").rglob("*.py")
        if "client" not in path.parts
    }
    package = {name for name in files if ".dist-info/" not in name}
    assert package == modules | CLIENT | {"backboneio/py.typed", "backboneio/inspection/page.html"}
    assert any(name.endswith("/LICENSE") for name in files)


def test_a_package_index_takes_them(sdist: Path, wheel: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    with zipfile.ZipFile(wheel) as archive:
        name = f"{NAME}.dist-info/METADATA"
        metadata = email.message_from_bytes(archive.read(name))
    assert {url.partition(",")[0] for url in metadata.get_all("Project-URL", [])} >= {
        "Source",
        "Documentation",
        "Changes",
        "Issues",
    }
    page = metadata.get_payload()
    assert isinstance(page, str)
    links = re.findall(r"\]\(([^)\s]+)\)", page)
    assert len(links) > 20
    # Nothing there lies beside the page.
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    readme = (CHECKOUT / "README.md").read_text()
    for link in re.findall(r"\]\(((?!https:|#)[^)\s]+)\)", readme):
        assert any(one.endswith(f"/main/{link}") for one in links), link


def test_the_address_of_the_project_is_the_same_everywhere() -> None:
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    home = config["metadata"]["url"]
    lines = config["metadata"]["project_urls"].strip().splitlines()
    urls = dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in lines)
    package = json.loads((CHECKOUT / "js" / "package.json").read_text())
    assert package["homepage"] == home
    assert package["repository"]["url"] == f"git+{urls['Source']}.git"
    assert package["bugs"] == urls["Issues"]
    listed = subprocess.check_output(["git", "ls-files"], cwd=CHECKOUT, text=True).split("\n")
    # This host is the project's: where it stands besides, it would be forgotten.
    host = re.escape(home.partition("://")[2])
    told = {"setup.cfg", "js/package.json", "CONTRIBUTING.md"}
    for name in set(filter(None, listed)) - told:
        path = CHECKOUT / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".js", ".json", ".html"}:
            assert not re.search(host, path.read_text()), name


def test_every_extra_has_code_behind_it() -> None:
    """The package imports what it brings, or SQLAlchemy does, for the URL of a tested database."""
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    code = "".join(path.read_text() for path in (CHECKOUT / "backboneio").rglob("*.py"))
    databases = (CHECKOUT / "tests" / "databases.py").read_text()
    for extra, needs in config["options.extras_require"].items():
        if extra in ("test", "dev", "docs"):  # for whoever works on it
            continue
        for need in needs.split():
            name = re.match(r"[\w-]+", need)
            assert name is not None
            imported = re.search(rf"^ *(import|from) {name[0]}\b", code, re.M)
            assert imported or f"+{name[0]}://" in databases, need


def test_the_installed_package_is_complete(python: Path) -> None:
    run(python, "-m", "pip", "check")
    version = "import importlib.metadata as m; print(m.version('backboneio'))"
    output = subprocess.check_output([python, "-I", "-c", version], text=True)
    assert output.strip() == backboneio.__version__
    command = subprocess.check_output([python.parent / "backboneio", "--version"], text=True)
    assert command.endswith(f" {backboneio.__version__}\n")


def test_an_application_serves_the_client_files_without_node(url: str, tree: Path) -> None:
    with urlopen(f"{url}/socket.io/backbone.io.js", timeout=30) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert response.read() == (tree / "js" / "dist" / "backbone.io.js").read_bytes()
    with urlopen(f"{url}/socket.io/socket.io.js", timeout=30) as response:
        assert response.status == 200
        assert b"Socket.IO v4" in response.read()[:100]


def test_a_checkout_without_node_says_what_is_missing(
    tree: Path, without_node: dict[str, str], tmp_path: Path
) -> None:
    bare = shutil.copytree(
        tree, tmp_path / "bare", ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True
    )
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", bare],
        env=without_node,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "npm is not found" in done.stdout + done.stderr
    assert "install Node.js" in done.stdout + done.stderr
