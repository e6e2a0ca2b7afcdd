"""Whether the process that left something in the catalogue is still there.

Leases and claims of a process that was killed must not keep anybody waiting. This can be
known only of processes on the same computer.
"""

from __future__ import annotations

import os
import re
import socket
import uuid

import psutil

_HOME = re.compile(r"@(?P<host>.+)/(?P<pid>[0-9]+)/(?P<started>[0-9]+)\Z")
"""Where a session lives, at the end of its name."""


def own_start() -> float:
    """When this process began, in seconds since the epoch."""
    return psutil.Process().create_time()


def is_running(pid: int, started: float) -> bool:
    """Whether a process of this computer lives; `started` tells it from a later namesake."""
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
