"""Leases: only one process adds files, and only one runs a round, at a time.

A lease names its process and the run of the computer that the process lives in. On the same
run of the same computer the kernel says whether the process lives, by a start time that no
step of the clock changes. Of other computers it is known only whether their heartbeats come:
one is looked at twice and must differ, since the clocks of two computers cannot be compared. A
process whose lease was ended can commit nothing more (`Catalogue.write`).
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from curator.catalogue.backend import Turn
from curator.catalogue.bulk import records, values_of
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import Lease
from curator.errors import BusyError, CuratorError

BEAT_SECONDS = 15.0
"""How often the holder of a lease says that it is alive."""
SILENCE_SECONDS = 120.0
"""Without a heartbeat for so long, a holder on another computer counts as dead."""

_HOME = re.compile(r"@(?P<computer>.+)/(?P<pid>[0-9]+)/(?P<started>[0-9.]+)\Z")
"""Where a session lives, at the end of its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """Who holds a lease.

    `process_started` is in seconds since the computer started (Linux) or since the epoch.
    `computer` is None where an older curator wrote the lease.
    """

    name: str
    token: str
    host: str
    pid: int
    process_started: float
    acquired_at: datetime
    heartbeat_at: datetime
    computer: str | None

    @property
    def is_dead(self) -> bool:
        """Whether it is certain that the holder's process is gone."""
        if self.computer != own_computer():
            return False
        return not _is_running(self.pid, self.process_started)

    @property
    def text(self) -> str:
        """Process, computer and beginning, as part of a sentence."""
        return f"process {self.pid} on {self.host}, since {self.acquired_at:%Y-%m-%d %H:%M} UTC"


@cache
def own_computer() -> str:
    """This run of this computer, and the name space that its process numbers belong to.

    A host name does not tell computers apart: images of machines are copied with it. Two
    containers share the run of their host, but a process number means another process in each.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - no path, but a name
    except OSError:
        return f"{socket.gethostname()}:{uuid.getnode():012x}"


def new_session() -> str:
    """A name for a reviewer's session that tells which process it lives in."""
    pid = os.getpid()
    return f"{uuid.uuid4().hex}@{own_computer()}/{pid}/{_process_start(pid):.2f}"


def session_is_dead(session: str) -> bool:
    """Whether it is certain that the process of a session is gone."""
    home = _HOME.search(session)
    if home is None or home["computer"] != own_computer():
        return False
    return not _is_running(int(home["pid"]), float(home["started"]))


@contextmanager
def lease(catalogue: Catalogue, name: str) -> Iterator[LeaseRecord]:
    """Hold the lease `name` (`add`, `round`) while the block runs; a thread keeps it alive.

    Raises BusyError if a living process holds it: says which, since when, and on which host. A
    holder that died is replaced without a word; one on another computer after SILENCE_SECONDS
    without a heartbeat, which are waited for here.
    """
    record = _take(catalogue, name)
    catalogue.held_leases.add(record.token)
    done = threading.Event()
    beat = threading.Thread(target=_keep_alive, args=(catalogue, record, done), daemon=True)
    beat.start()
    try:
        yield record
    finally:
        done.set()
        beat.join()
        catalogue.held_leases.discard(record.token)
        # What the block did is done, also where the disk is too full to say that it ended: a
        # lease that stays behind ends with this process.
        with suppress(CuratorError):
            end_lease(catalogue, record)


def end_lease(catalogue: Catalogue, record: LeaseRecord) -> bool:
    """End this lease, whoever holds it; False if it has ended already."""
    with catalogue.write(Turn.SHORT) as connection:
        ended = connection.execute(sa.delete(Lease).where(Lease.c.token == record.token))
    return ended.rowcount > 0


def list_leases(catalogue: Catalogue) -> list[LeaseRecord]:
    """The leases of all who are not known to be dead, by name."""
    query = sa.select(*Lease.c).order_by(Lease.c.name)
    with catalogue.read() as connection:
        holders = list(records(connection, query, LeaseRecord))
    return [holder for holder in holders if not holder.is_dead]


def lease_holder(catalogue: Catalogue, name: str) -> LeaseRecord | None:
    """Who holds a lease now, None if nobody does or the holder is known to be dead."""
    return next((holder for holder in list_leases(catalogue) if holder.name == name), None)


def _take(catalogue: Catalogue, name: str) -> LeaseRecord:
    silent = None
    while True:
        holder = lease_holder(catalogue, name)
        if holder is not None and holder != silent:
            silent = _wait_for_silence(catalogue, holder)
        moment, pid = now(), os.getpid()
        record = LeaseRecord(
            name=name,
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=pid,
            process_started=_process_start(pid),
            acquired_at=moment,
            heartbeat_at=moment,
            computer=own_computer(),
        )
        query = sa.select(*Lease.c).where(Lease.c.name == name)
        with catalogue.write(Turn.SHORT) as connection:
            holders = list(records(connection, query, LeaseRecord))
            if all(other.is_dead or other == silent for other in holders):
                connection.execute(sa.delete(Lease).where(Lease.c.name == name))
                connection.execute(sa.insert(Lease).values(**values_of(record)))
                return record


def _wait_for_silence(catalogue: Catalogue, holder: LeaseRecord) -> LeaseRecord:
    """The holder once it gave no heartbeat for long. Raises BusyError as soon as it gives one."""
    busy = BusyError(
        f"Another `{holder.name}` is running in this workspace: {holder.text}.",
        "Wait until it has finished, or end that process. If it is known to be dead,"
        " `curator doctor --release` ends its lease.",
    )
    if holder.computer == own_computer():
        raise busy
    catalogue.notify(
        f"`{holder.name}` is held by {holder.text}. It counts as dead if it sends no heartbeat"
        f" within {SILENCE_SECONDS:.0f} s; `curator doctor --release` need not wait."
    )
    until = time.monotonic() + SILENCE_SECONDS
    while time.monotonic() < until:
        time.sleep(min(1.0, SILENCE_SECONDS / 10))
        latest = lease_holder(catalogue, holder.name)
        if latest is None:
            break
        if latest != holder:
            raise busy
    return holder


def _keep_alive(catalogue: Catalogue, record: LeaseRecord, done: threading.Event) -> None:
    mine = sa.update(Lease).where(Lease.c.token == record.token)
    while not done.wait(BEAT_SECONDS):
        # The work itself will meet the same trouble and report it; try the next beat.
        with suppress(CuratorError), catalogue.write(Turn.SHORT) as connection:
            connection.execute(mine.values(heartbeat_at=now()))


def _is_running(pid: int, started: float) -> bool:
    """Whether a process of this computer lives, and not a later one with its number."""
    try:
        return abs(_process_start(pid) - started) < 1.0
    except ProcessLookupError:
        return False
    except PermissionError:
        return True


def _process_start(pid: int) -> float:
    """When a process began, by a clock that is not stepped where there is one.

    Raises ProcessLookupError if it is gone.
    """
    if sys.platform == "linux":
        # psutil adds the time of the start of the system, which follows steps of the clock.
        try:
            state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        except FileNotFoundError as error:
            os.kill(pid, 0)  # PermissionError: it lives, but /proc hides other people's
            raise ProcessLookupError(pid) from error
        if state in (b"Z", b"X"):
            raise ProcessLookupError(pid)
        return int(fields[18]) / os.sysconf("SC_CLK_TCK")
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(pid) from error
