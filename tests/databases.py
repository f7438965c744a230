"""Databases for tests: servers of their own, brought up when the first test asks."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pymysql
import pytest


class Server:
    """A database server in a temporary folder, on a Unix socket there.

    It keeps nothing in sync with disks. As root it runs as another user, as servers ask for.
    """

    _programs: str  # where Debian keeps the programs, out of PATH
    _users: tuple[str, ...]
    _creating = _dropping = ""  # what follows the database's name in these statements

    def __init__(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="backboneio-db-"))
        # With a folder for temporary files that its user may write to, as ours may not be.
        self._as: dict[str, Any] = {"env": {**os.environ, "TMPDIR": str(self.folder)}}
        if os.geteuid() == 0:
            user = _user(self._users)
            self._as |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._names = (f"test_{number}" for number in itertools.count())

    def url(self, database: str) -> str:
        """Return the URL of a database, for SQLAlchemy."""
        raise NotImplementedError

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Make an empty database; yield its URL, drop it at the end."""
        name = next(self._names)
        self._execute(f"CREATE DATABASE {name}{self._creating}")
        yield self.url(name)
        self._execute(f"DROP DATABASE {name}{self._dropping}")

    def _execute(self, statement: str) -> None:
        raise NotImplementedError

    def _program(self, name: str) -> str:
        found = shutil.which(name) or max(glob.glob(f"{self._programs}/{name}"), default=None)
        assert found, (
            f"{name} is not found: run tools/system-packages {type(self).__name__.lower()}"
        )
        return found

    def _run(self, program: str, *arguments: str) -> None:
        # Into a file: the server inherits it, and a pipe would never end.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [self._program(program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **self._as,
            )
            output.seek(0)
            said = output.read().decode(errors="replace")
            if done.returncode:
                raise Failed(f"{program} ended with {done.returncode}:\n{said}")


class Failed(Exception):
    """A program of a database says that it did not succeed."""


class PostgreSQL(Server):
    """A cluster of PostgreSQL."""

    _programs = "/usr/lib/postgresql/*/bin"
    _users = ("postgres", "nobody")
    _dropping = " WITH (FORCE)"

    def __init__(self) -> None:
        super().__init__()
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
            except Failed:  # what is left of a killed one ends by itself
                if not tries_left:
                    raise
                time.sleep(0.1)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``fast`` ends the clients' connections, ``immediate`` recovers later."""
        self._run("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")

    def kill(self) -> None:
        """End the server without a warning; return when its processes, which notice, have ended."""
        pid = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and any(map(_runs, children)):
            time.sleep(0.01)

    def close(self) -> None:
        """Stop the server and remove its folder."""
        with contextlib.suppress(Failed):  # it may have been stopped
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(
            host=str(self.folder), user="tests", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)  # type: ignore[call-overload]


class MariaDB(Server):
    """A server of MariaDB."""

    _programs = "/usr/sbin"
    _users = ("mysql", "nobody")
    _creating = " CHARACTER SET utf8mb4"

    def __init__(self) -> None:
        super().__init__()
        self._run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.folder}/data",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        self.start()

    def url(self, database: str = "mysql") -> str:
        """Return the URL of a database, for SQLAlchemy."""
        return f"mysql+pymysql://root@localhost/{database}?unix_socket={self.folder}/socket"

    def start(self) -> None:
        """Start the server; return when it answers."""
        self._server = subprocess.Popen(
            [
                self._program("mariadbd"),
                "--no-defaults",
                f"--datadir={self.folder}/data",
                f"--socket={self.folder}/socket",
                f"--log-error={self.folder}/log",
                "--skip-networking",
                "--innodb-flush-log-at-trx-commit=2",  # what is committed outlives the process
                "--innodb-flush-method=nosync",
                "--innodb-buffer-pool-size=32M",
                "--max-connections=200",
            ],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            **self._as,
        )
        deadline = time.monotonic() + 60
        while not self._listens():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.folder / "log").read_text())
            time.sleep(0.05)
        self._execute("SELECT 1")

    def _listens(self) -> bool:
        """Whether somebody does; PyMySQL leaves its socket open where nobody does."""
        with socket.socket(socket.AF_UNIX) as one:
            return one.connect_ex(f"{self.folder}/socket") == 0

    def stop(self) -> None:
        """Stop the server."""
        self._server.terminate()
        self._server.wait(60)

    def kill(self) -> None:
        """End the server without a warning."""
        self._server.kill()
        self._server.wait(60)

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder)

    def _execute(self, statement: str) -> None:
        connection = pymysql.connect(
            unix_socket=f"{self.folder}/socket", user="root", autocommit=True
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)


def _runs(pid: str) -> bool:
    """Whether a process has not ended; one whose end nobody has asked for yet has."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _user(names: tuple[str, ...]) -> pwd.struct_passwd:
    for name in names:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("there is no user that a database server could run as")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """The cluster of this test run."""
    cluster = PostgreSQL()
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """The server of this test run."""
    server = MariaDB()
    yield server
    server.close()


#: Servers take seconds.
_KINDS = [
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.slow),
    pytest.param("mariadb", marks=pytest.mark.slow),
]

#: For tests that are made with every database there is: the others are content with two.
every_database = pytest.mark.parametrize("database", _KINDS, indirect=True)


@pytest.fixture(params=_KINDS[:2])
def database(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[str]:
    """The URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
    else:
        with request.getfixturevalue(request.param).database() as url:
            yield url
