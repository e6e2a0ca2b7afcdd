"""Leases: only one process adds files, and only one runs a round, at a time.

A lease names host, process and heartbeat. One whose holder is dead, or has not been
heard of for long, is taken over.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from curator.catalogue.engine import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """Who holds a lease."""

    name: str
    token: str
    host: str
    pid: int
    acquired_at: datetime
    heartbeat_at: datetime


def lease(catalogue: Catalogue, name: str) -> AbstractContextManager[LeaseRecord]:
    """Hold the lease `name` (`add`, `round`) while the block runs; a thread keeps it alive.

    Raises BusyError if a living process holds it: says which, since when, and on which
    host. A holder that died is replaced without a word.
    """
    raise NotImplementedError


def lease_holder(catalogue: Catalogue, name: str) -> LeaseRecord | None:
    """Who holds a lease now, None if nobody alive does."""
    raise NotImplementedError
