"""Whose lease counts: what the kernel says here, what two looks say of other computers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from curator.catalogue import claims, leases
from curator.catalogue.bulk import values_of
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.leases import LeaseRecord, lease, list_leases, own_computer
from curator.catalogue.models import Claim, Lease
from curator.errors import BusyError
from tests.catalogue.builders import add_images

_ELSEWHERE = LeaseRecord(
    name="round",
    token="theirs",
    host=os.uname().nodename,
    pid=1,
    process_started=1.0,
    acquired_at=now(),
    heartbeat_at=now(),
    computer="another boot:pid:[1]",
)
"""A lease of a computer with the same host name as this one."""


def _enter(catalogue: Catalogue, record: LeaseRecord) -> None:
    with catalogue.write() as connection:
        connection.execute(sa.insert(Lease).values(**values_of(record)))


@contextmanager
def _beating(catalogue: Catalogue, step: timedelta) -> Iterator[None]:
    """Heartbeats of the other computer, whose clock moves by `step` with each."""
    done = threading.Event()

    def beat() -> None:
        moment = _ELSEWHERE.heartbeat_at
        while not done.wait(0.02):
            moment += step
            with catalogue.write() as connection:
                connection.execute(sa.update(Lease).values(heartbeat_at=moment))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(days=365), timedelta(days=-365)])
def test_a_silent_holder_elsewhere_is_replaced_whatever_its_clock_says(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    monkeypatch.setattr(leases, "SILENCE_SECONDS", 0.3)
    sentences: list[str] = []
    monkeypatch.setattr(catalogue, "notify", sentences.append)
    _enter(catalogue, replace(_ELSEWHERE, heartbeat_at=now() + ahead))
    with lease(catalogue, "round") as mine:
        assert mine.pid == os.getpid()
    (sentence,) = sentences
    assert "doctor --release" in sentence


@pytest.mark.parametrize("step", [timedelta(seconds=15), timedelta(days=-1)])
def test_a_holder_elsewhere_that_gives_a_heartbeat_keeps_its_lease(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, step: timedelta
) -> None:
    monkeypatch.setattr(leases, "SILENCE_SECONDS", 20.0)
    _enter(catalogue, _ELSEWHERE)
    with _beating(catalogue, step), pytest.raises(BusyError, match=r"process 1 on"):
        lease(catalogue, "round").__enter__()


def test_a_step_of_the_clock_takes_no_lease_of_a_living_process(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = leases._process_start(sleeper.pid)
    theirs = replace(_ELSEWHERE, pid=sleeper.pid, process_started=started, computer=own_computer())
    _enter(catalogue, theirs)
    # What a stepped clock changes: the system's time, and with it the start of every process as
    # psutil counts it, from the system's start.
    import psutil

    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + 86_400)
    monkeypatch.setattr(leases, "now", lambda: now() + timedelta(days=365))
    with pytest.raises(BusyError, match=f"process {sleeper.pid} on"):
        lease(catalogue, "round").__enter__()
    sleeper.kill()
    until = time.monotonic() + 30  # a process that nobody has waited for is dead, too
    while list_leases(catalogue) and time.monotonic() < until:
        time.sleep(0.01)
    with lease(catalogue, "round") as mine:
        assert mine.pid == os.getpid()
    sleeper.communicate()


def test_another_process_with_the_number_of_a_dead_one_holds_nothing(catalogue: Catalogue) -> None:
    _enter(catalogue, replace(_ELSEWHERE, pid=os.getpid(), computer=own_computer()))
    with lease(catalogue, "round") as mine:
        assert mine.token != "theirs"


def test_who_lost_the_lease_can_commit_nothing_more(catalogue: Catalogue) -> None:
    with lease(catalogue, "add") as mine:
        add_images(catalogue, 1)
        with Catalogue.open(catalogue.backend.address) as other:
            assert leases.end_lease(other, mine)
            add_images(other, 1, start=5)  # others go on
        with pytest.raises(BusyError, match="ended the lease"):
            add_images(catalogue, 1, start=1)
    assert add_images(catalogue, 1, start=1)  # after the block it is a process like any other


def test_claims_from_a_clock_that_is_a_year_ahead_hold_nobody_up(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 2)
    claims.claim(catalogue, ids, queue="q", actor="a", session="elsewhere")
    assert claims.claim(catalogue, ids, queue="q", actor="b", session="mine") == []
    with catalogue.write() as connection:
        ahead = sa.update(Claim).where(Claim.c.image_id == ids[0])
        connection.execute(ahead.values(expires_at=now() + timedelta(days=365)))
    assert claims.claim(catalogue, ids, queue="q", actor="b", session="mine") == ids[:1]
