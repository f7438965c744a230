"""Databases for tests: a PostgreSQL cluster of their own, brought up when the first one asks."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest


def _program(name: str) -> str:
    """Find a program of the server's, which Debian keeps out of PATH."""
    found = shutil.which(name) or max(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), default=None)
    assert found, f"{name} is not found: run tools/system-packages postgresql"
    return found


class PostgreSQL:
    """A cluster in a temporary folder, on a Unix socket there; it keeps nothing in sync with disks.

    The server refuses to run as root; then it runs as ``postgres`` or ``nobody``.
    """

    def __init__(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="backboneio-pg-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = _user()
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._names = (f"test_{number}" for number in itertools.count())
        self._run("initdb", "-D", "data", "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, for SQLAlchemy."""
        return f"postgresql+psycopg://tests@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start the server; return when it answers."""
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=200"
        for tries_left in reversed(range(20)):
            try:
                self._run(
                    "pg_ctl", "-D", "data", "-w", "-t", "60", "-l", "log", "-o", options, "start"
                )
                return
            except subprocess.CalledProcessError:  # what is left of a killed one ends by itself
                if not tries_left:
                    raise
                time.sleep(0.1)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``fast`` ends the clients' connections, ``immediate`` recovers later."""
        self._run("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")

    def kill(self) -> None:
        """End the server without a warning."""
        pid = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Make an empty database; yield its URL, drop it at the end."""
        name = next(self._names)
        self._execute(f"CREATE DATABASE {name}")
        yield self.url(name)
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Stop the server and remove its folder."""
        with contextlib.suppress(subprocess.CalledProcessError):  # it may have been stopped
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(
            host=str(self.folder), user="tests", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def _run(self, program: str, *arguments: str) -> None:
        # Into a file: the server inherits it, and a pipe would never end.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [_program(program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **self._as,
            )
            output.seek(0)
            if done.returncode:
                raise subprocess.CalledProcessError(
                    done.returncode, program, output.read().decode(errors="replace")
                )


def _user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("there is no user that PostgreSQL could run as")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """The cluster of this test run."""
    cluster = PostgreSQL()
    yield cluster
    cluster.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[str]:
    """The URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
    else:
        with request.getfixturevalue("postgresql").database() as url:
            yield url
