"""A private PostgreSQL server for tests: a Unix socket of its own, no network, no fsync."""

from __future__ import annotations

import os
import pwd
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from curator.catalogue.engine import Catalogue

_SETTINGS = """
listen_addresses = ''
unix_socket_permissions = 0777
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 64MB
max_connections = 60
"""


@dataclass
class PostgresServer:
    """A running server; `template` is a database with the tables of a catalogue."""

    folder: Path
    prefix: list[str]
    programs: Path
    made: int = 0

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://curator@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres") -> Any:
        import psycopg

        arguments = f"host={self.folder} user=curator dbname={database}"
        return psycopg.connect(arguments, autocommit=True)

    def new_database(self, template: str = "template0") -> str:
        """The name of a new database."""
        self.made += 1
        name = f"test_{os.getpid()}_{self.made}"
        with self.connect() as connection:
            connection.execute(
                f"CREATE DATABASE {name} TEMPLATE {template} ENCODING UTF8 LOCALE 'C'"
                " STRATEGY FILE_COPY"
            )
        return name

    def drop(self, database: str) -> None:
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def start(self) -> None:
        control = [self.programs / "pg_ctl", "-D", self.folder / "data", "-w", "-t", "120"]
        log = self.folder / "log"
        self.run(*control, "-l", log, "-o", f"-k {self.folder}", "start")

    def stop(self, mode: str = "immediate") -> None:
        self.run(self.programs / "pg_ctl", "-D", self.folder / "data", "-m", mode, "-w", "stop")

    def run(self, *command: str | Path) -> None:
        done = subprocess.run(
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def find_programs() -> Path | None:
    """The folder with the newest server's programs, where Debian puts them or on the PATH."""
    folders = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(folders, key=lambda path: int(path.parts[-3]))
    if newest:
        return newest[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server that ends with the block; skips loudly where there is none to start."""
    pytest.importorskip("psycopg", reason="psycopg is missing: pip install 'curator[postgres]'")
    programs = find_programs()
    if programs is None:
        pytest.skip(
            "PostgreSQL is missing: `make test` installs it as root, or apt-get install postgresql"
        )
    prefix: list[str] = []
    # Not pytest's folder: the path of a socket may have 107 characters, and the server, which
    # refuses to run as root, must be able to enter it.
    folder = Path(tempfile.mkdtemp(prefix="curator-postgres-"))
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        prefix = ["runuser", "-u", "postgres", "--"]
    server = PostgresServer(folder=folder, prefix=prefix, programs=programs)
    try:
        server.run(
            programs / "initdb",
            *("-D", folder / "data", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"),
            *("-U", "curator"),
        )
        with (folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class LosingProxy:
    """A socket before a server's, which can lose the answer to the next commit.

    What is sent through it reaches the server. Once `lose` is set, the server answers the next
    COMMIT, `lose` is called instead of passing the answer on, and the connection is gone.
    """

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self.lose: Callable[[], None] | None = None
        self.lost = 0
        self._to = str(server.folder / ".s.PGSQL.5432")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        is_commit = False
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._to)
            while True:
                for end in select.select([client, server], [], [])[0]:
                    sent = end.recv(1 << 16)
                    if not sent:
                        return
                    if end is client:
                        is_commit = b"COMMIT\0" in sent
                    elif is_commit and self.lose is not None:
                        lose, self.lose, self.lost = self.lose, None, self.lost + 1
                        lose()
                        return
                    (server if end is client else client).sendall(sent)


@contextmanager
def new_catalogue(server: PostgresServer, home: Path, template: str) -> Iterator[Catalogue]:
    """An open catalogue without rows, in a database of its own."""
    database = server.new_database(template)
    try:
        with Catalogue.open(server.url(database), home=home) as catalogue:
            yield catalogue
    finally:
        with suppress(Exception):
            server.drop(database)


def wait_until(what: Any, seconds: float = 60.0) -> None:
    """Until `what()` is true."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)
