"""Leases: only one process adds files, and only one runs a round, at a time.

A lease names host, process and heartbeat. One whose holder is dead, or has not sent a
heartbeat for long, is taken over. Leases and claims of a process that was killed must not keep
anybody waiting; whether a process lives can be known only on its own computer.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.catalogue.bulk import records, values_of
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import Lease
from curator.errors import BusyError, CuratorError

_HOME = re.compile(r"@(?P<host>.+)/(?P<pid>[0-9]+)/(?P<started>[0-9]+)\Z")
"""Where a session lives, at the end of its name."""


def own_start() -> float:
    """When this process began, in seconds since the epoch."""
    import psutil

    return psutil.Process().create_time()


def is_running(pid: int, started: float) -> bool:
    """Whether a process of this computer lives, and not a later one with its number."""
    import psutil

    try:
        return abs(psutil.Process(pid).create_time() - started) < 2.0
    except psutil.NoSuchProcess:
        return False


def new_session() -> str:
    """A name for a reviewer's session that tells which process it lives in."""
    return f"{uuid.uuid4().hex}@{socket.gethostname()}/{os.getpid()}/{own_start():.0f}"


def session_is_dead(session: str) -> bool:
    """Whether it is certain that the process of a session is gone."""
    home = _HOME.search(session)
    if home is None or home["host"] != socket.gethostname():
        return False
    return not is_running(int(home["pid"]), float(home["started"]))


BEAT_SECONDS = 15.0
"""How often the holder of a lease says that it is alive."""
SILENCE = timedelta(minutes=10)
"""After this long without a heartbeat a holder on another computer counts as dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """Who holds a lease."""

    name: str
    token: str
    host: str
    pid: int
    process_started: float
    acquired_at: datetime
    heartbeat_at: datetime


@contextmanager
def lease(catalogue: Catalogue, name: str) -> Iterator[LeaseRecord]:
    """Hold the lease `name` (`add`, `round`) while the block runs; a thread keeps it alive.

    Raises BusyError if a living process holds it: says which, since when, and on which
    host. A holder that died is replaced without a word.
    """
    record = _take(catalogue, name)
    done = threading.Event()
    beat = threading.Thread(target=_keep_alive, args=(catalogue, record, done), daemon=True)
    beat.start()
    try:
        yield record
    finally:
        done.set()
        beat.join()
        with catalogue.write() as connection:
            connection.execute(sa.delete(Lease).where(Lease.c.token == record.token))


def lease_holder(catalogue: Catalogue, name: str) -> LeaseRecord | None:
    """Who holds a lease now, None if nobody alive does."""
    with catalogue.read() as connection:
        return _living_holder(connection, name)


def _take(catalogue: Catalogue, name: str) -> LeaseRecord:
    with catalogue.write() as connection:
        holder = _living_holder(connection, name)
        if holder is not None:
            raise BusyError(
                f"Another `{name}` is running in this workspace: process {holder.pid} on"
                f" {holder.host}, since {holder.acquired_at:%Y-%m-%d %H:%M} UTC.",
                "Wait until it has finished, or end that process.",
            )
        moment = now()
        record = LeaseRecord(
            name=name,
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            process_started=own_start(),
            acquired_at=moment,
            heartbeat_at=moment,
        )
        connection.execute(sa.delete(Lease).where(Lease.c.name == name))
        connection.execute(sa.insert(Lease).values(**values_of(record)))
    return record


def _living_holder(connection: Connection, name: str) -> LeaseRecord | None:
    for holder in records(connection, sa.select(*Lease.c).where(Lease.c.name == name), LeaseRecord):
        if holder.host != socket.gethostname():
            lives = now() - holder.heartbeat_at < SILENCE
        else:
            lives = is_running(holder.pid, holder.process_started)
        return holder if lives else None
    return None


def _keep_alive(catalogue: Catalogue, record: LeaseRecord, done: threading.Event) -> None:
    mine = sa.update(Lease).where(Lease.c.token == record.token)
    while not done.wait(BEAT_SECONDS):
        try:
            with catalogue.write() as connection:
                connection.execute(mine.values(heartbeat_at=now()))
        except CuratorError:
            # The work itself will meet the same trouble and report it; try the next beat.
            continue
