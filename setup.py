"""Makes the files for the browser in backboneio/client, and the page of the package index.

setup.cfg says everything else.

From a checkout: Rollup bundles ours from js/src/. Socket.IO's own client, and what a page needs
besides (Backbone, Underscore, jQuery), come from npm, in the versions of js/package-lock.json, with
which the tests run. Ours are links to js/dist/, so that what is built anew is what is
served. An sdist has them all inside, so that nothing but Python is needed to install it.
"""

import configparser
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.errors import SetupError

ROOT = Path(__file__).resolve().parent
JS = ROOT / "js"
DIST = JS / "dist"
CLIENT = ROOT / "backboneio" / "client"
BUNDLES = (
    "backbone.io.js",
    "backbone.io.esm.js",
    "backbone.io.min.js",
    "backbone.io.min.js.map",
)
OURS = (*BUNDLES, "backbone.io.d.ts")
#: From npm, by the names that they are served under.
FETCHED = {
    "socket.io.js": "socket.io-client/dist/socket.io.js",
    "socket.io.js.map": "socket.io-client/dist/socket.io.js.map",
    "socket.io.min.js": "socket.io-client/dist/socket.io.min.js",
    "socket.io.min.js.map": "socket.io-client/dist/socket.io.min.js.map",
    "socket.io.esm.min.js": "socket.io-client/dist/socket.io.esm.min.js",
    "socket.io.esm.min.js.map": "socket.io-client/dist/socket.io.esm.min.js.map",
    "vendor/backbone.js": "backbone/backbone.js",
    "vendor/backbone.min.js": "backbone/backbone-min.js",
    "vendor/backbone-min.js.map": "backbone/backbone-min.js.map",
    "vendor/jquery.js": "jquery/dist/jquery.js",
    "vendor/jquery.min.js": "jquery/dist/jquery.min.js",
    "vendor/underscore.js": "underscore/underscore-umd.js",
    "vendor/underscore.min.js": "underscore/underscore-umd-min.js",
}
#: Whose files these are, and the terms that they come under.
LICENCES = {
    "backbone": "LICENSE",
    "jquery": "LICENSE.txt",
    "socket.io-client": "LICENSE",
    "underscore": "LICENSE",
}
LICENCES_FILE = "vendor/LICENSES.txt"
ALL = (*OURS, *FETCHED, LICENCES_FILE)


def build_client() -> None:
    """Bring backboneio/client up to date, or say what is missing for it."""
    (CLIENT / "vendor").mkdir(parents=True, exist_ok=True)
    if JS.is_dir() and _install():
        _bundle()
        for name in OURS:
            source = (DIST if name in BUNDLES else JS) / name
            _replace(CLIENT / name, lambda new, source=source: _link(source, new))
        for name, path in FETCHED.items():
            source = JS / "node_modules" / path
            _replace(CLIENT / name, lambda new, source=source: shutil.copyfile(source, new))
        _replace(CLIENT / LICENCES_FILE, lambda new: new.write_text(_licences(), "utf-8"))
    missing = [name for name in ALL if not (CLIENT / name).exists()]
    if missing:
        raise SetupError(f"files for the browser are missing: {', '.join(missing)}")


def _install() -> bool:
    """Install what the build needs; return False to keep what was built where there is no npm."""
    lock = json.loads((JS / "package-lock.json").read_text("utf-8"))
    names = ("rollup", "@rollup/plugin-terser", *LICENCES)
    wanted = {name: lock["packages"][f"node_modules/{name}"]["version"] for name in names}
    if all(_installed_version(name) == version for name, version in wanted.items()):
        return True
    npm = shutil.which("npm")
    if npm is None:
        if all((CLIENT / name).exists() for name in ALL):
            print(f"npm is not found: keeping {CLIENT} as it is, though it may be out of date")
            return False
        raise SetupError(
            "npm is not found. It fetches what builds the files for the browser, which a checkout "
            "does not contain: install Node.js, which brings npm, or install from a wheel or an "
            "sdist, which contain them."
        )
    _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"])
    return True


def _bundle() -> None:
    """Run Rollup where a source is newer than what was built of it."""
    sources = [*(JS / "src").iterdir(), JS / "rollup.config.mjs", JS / "package.json"]
    built = [DIST / name for name in BUNDLES]
    if all(path.exists() for path in built):
        oldest = min(path.stat().st_mtime_ns for path in built)
        if oldest > max(path.stat().st_mtime_ns for path in sources):
            return
    node = shutil.which("node")
    if node is None:
        raise SetupError("node is not found. It bundles the files for the browser.")
    _run([node, "node_modules/rollup/dist/bin/rollup", "-c", "--silent"])


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, cwd=JS, check=True, stdin=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        what = " ".join(Path(part).name for part in command[:2])
        raise SetupError(f"'{what}' in js/ failed, see above ({error.returncode})") from None


def _installed_version(name: str) -> str | None:
    try:
        package = JS / "node_modules" / name / "package.json"
        return str(json.loads(package.read_text("utf-8"))["version"])
    except FileNotFoundError:
        return None


def _licences() -> str:
    """Return the terms of what comes from npm, one after the other."""
    texts = []
    for name, file in LICENCES.items():
        terms = (JS / "node_modules" / name / file).read_text("utf-8")
        texts.append(f"{name} {_installed_version(name)}\n\n{terms.strip()}\n")
    return "\n----\n\n".join(texts)


def _link(source: Path, link: Path) -> None:
    try:
        link.symlink_to(os.path.relpath(source, link.parent))
    except OSError:  # a file system, or a Windows user, without symbolic links
        shutil.copyfile(source, link)


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    """Make *path* anew, in one step for a server or another build that looks at it meanwhile."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    make(new)
    os.replace(new, path)


def long_description() -> str:
    """Return the README with links that lead somewhere from elsewhere, the package index say."""
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg", "utf-8")
    urls = dict(
        line.split(" = ") for line in metadata["metadata"]["project_urls"].split("\n") if line
    )
    source, readme = urls["Source"], (ROOT / "README.md").read_text("utf-8")
    readme = re.sub(r"(!\[[^]]*\]\()(?!https?:|#)", rf"\1{source}/raw/main/", readme)
    return re.sub(r"((?<!!)\[[^]!]*\]\()(?!https?:|#)", rf"\1{source}/blob/main/", readme)


class BuildPy(build_py):
    def run(self) -> None:
        build_client()
        super().run()


class Sdist(sdist):
    def run(self) -> None:
        build_client()
        super().run()

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        for name in OURS:  # links into js/, which an sdist does not have
            path = Path(base_dir, CLIENT.relative_to(ROOT), name)
            path.unlink()
            shutil.copyfile(CLIENT / name, path)


setup(
    long_description=long_description(),
    cmdclass={"build_py": BuildPy, "sdist": Sdist},
)
