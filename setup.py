"""Makes the files for the browser in backboneio/client; setup.cfg says everything else.

From a checkout: Socket.IO's own client comes from npm, in the version of js/package-lock.json, and
our files are links to js/, so that what is served is what is being edited. An sdist has them all
inside, so that nothing but Python is needed to install it.
"""

import json
import os
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
CLIENT = ROOT / "backboneio" / "client"
OURS = ("backbone.io.js", "backbone.io.d.ts")
SOCKET_IO = (
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
)


def build_client() -> None:
    """Bring backboneio/client up to date, or say what is missing for it."""
    CLIENT.mkdir(exist_ok=True)
    if JS.is_dir():
        for name in OURS:
            if (JS / name).exists():
                _replace(CLIENT / name, lambda new, name=name: _link(JS / name, new))
        _build_socket_io()
    missing = [name for name in OURS + SOCKET_IO if not (CLIENT / name).exists()]
    if missing:
        raise SetupError(f"files for the browser are missing: {', '.join(missing)}")


def _build_socket_io() -> None:
    lock = json.loads((JS / "package-lock.json").read_text("utf-8"))
    wanted = lock["packages"]["node_modules/socket.io-client"]["version"]
    complete = all((CLIENT / name).exists() for name in SOCKET_IO)
    if complete and f"Socket.IO v{wanted}\n" in (CLIENT / "socket.io.js").read_text("utf-8")[:100]:
        return
    package = JS / "node_modules" / "socket.io-client"
    if _installed_version(package) != wanted:
        npm = shutil.which("npm")
        if npm is None and complete:
            print(
                f"npm is not found: keeping {CLIENT} as it is, though Socket.IO {wanted} is wanted"
            )
            return
        if npm is None:
            raise SetupError(
                "npm is not found. It fetches Socket.IO's client, which a checkout does not "
                "contain: install Node.js, which brings npm, or install from a wheel or an sdist, "
                "which contain it."
            )
        options = ("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund")
        try:
            subprocess.run([npm, "ci", *options], cwd=JS, check=True, stdin=subprocess.DEVNULL)
        except subprocess.CalledProcessError as error:
            raise SetupError(f"'npm ci' in js/ failed, see above ({error.returncode})") from None
    for name in SOCKET_IO:
        _replace(
            CLIENT / name, lambda new, name=name: shutil.copyfile(package / "dist" / name, new)
        )


def _installed_version(package: Path) -> str | None:
    try:
        return str(json.loads((package / "package.json").read_text("utf-8"))["version"])
    except FileNotFoundError:
        return None


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
        for name in OURS:  # links to js/, which an sdist does not have
            path = Path(base_dir, CLIENT.relative_to(ROOT), name)
            path.unlink()
            shutil.copyfile(CLIENT / name, path)


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
