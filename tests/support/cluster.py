"""A private Ray cluster of one node for tests, in a network namespace with only a loopback device.

Ray listens on every address of its computer, even when told not to, so it is started nowhere
else. Its node does not see `hidden`, which the driver does: a folder that is not mounted there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command import CHECKOUT, Outcome
from tests.support.needs import skip_unavoidably

_SECONDS = 300
_STARTS = 5
"""A node gives its own helpers 15 s to start, which busy cores may not keep: it is tried again."""


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """A running cluster: the process whose network it has, and what a driver needs to know."""

    process: int
    environment: dict[str, str]
    hidden: Path

    def start(self, *command: str | Path, **environment: str) -> subprocess.Popen[str]:
        """A process in the cluster's network, in a session of its own."""
        entered = ["nsenter", "--target", str(self.process), "--net", "--", *map(str, command)]
        return subprocess.Popen(
            entered,
            env={**os.environ, **self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def processes(self, title: bytes) -> list[int]:
        """The processes in the cluster's network whose command line begins so."""
        found = _in_network(self.process)
        return [number for number in found if _command(number).startswith(title)]

    def curator(self, *arguments: str | Path, expect: int = 0, **environment: str) -> Outcome:
        """Run a command of curator that may use the cluster, to its end."""
        command = (sys.executable, "-m", "curator", *arguments)
        process = self.start(*command, **environment)
        stdout, stderr = process.communicate(timeout=_SECONDS * 2)
        assert process.returncode == expect, f"exit code {process.returncode}\n{stdout}\n{stderr}"
        return Outcome(process.returncode, stdout, stderr)


@contextmanager
def running_cluster() -> Iterator[RayCluster]:
    """A cluster with two processors that ends with the block; skips where there can be none."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is missing: pip install 'curator[ray]'")
    unshare = ["unshare", "--net", "--mount"]
    if not shutil.which("nsenter") or subprocess.run([*unshare, "true"], check=False).returncode:
        skip_unavoidably("network namespaces need the rights of root")
    # Not pytest's folder: the path of a socket may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="curator-ray-"))
    hidden = folder / "hidden"
    hidden.mkdir()
    environment = {
        "RAY_raylet_start_wait_time_s": "60",
        "RAY_worker_register_timeout_seconds": str(_SECONDS),
        "PYTHONPATH": str(CHECKOUT),
        "RAY_AUTH_MODE": "disabled",  # a token would be written into the home folder
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": "127.0.0.1:6379",
        "OMP_NUM_THREADS": "1",
    }
    start = (
        "ip link set lo up && mount -t tmpfs none hidden &&"
        " exec python -m ray.scripts.scripts start --head --block --node-ip-address 127.0.0.1"
        " --port 6379 --num-cpus 2 --include-dashboard=false --disable-usage-stats"
        " --object-store-memory 200000000 --temp-dir $PWD/ray"
    ).replace("python", sys.executable)
    command = [*unshare, "sh", "-c", start]
    head = None
    try:
        for _ in range(_STARTS):
            head = _started(command, folder, environment)
            if head is not None:
                yield RayCluster(process=head.pid, environment=environment, hidden=hidden)
                return
        raise AssertionError((folder / "log").read_text()[-2_000:])
    finally:
        if head is not None:
            _end(head.pid)
            head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _started(
    command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes] | None:
    """The node, once it runs; None if it did not start in time."""
    log = folder / "log"
    with log.open("w") as stream:
        head = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment, "RAY_ADDRESS": ""},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and head.poll() is None:
        if "Ray runtime started" in log.read_text():
            return head
        raylets = (folder / "ray").glob("session_latest/logs/raylet.out")
        if any("Timed out waiting for file" in path.read_text() for path in raylets):
            break
        time.sleep(0.5)
    if head.poll() is None:
        _end(head.pid)
    head.wait()
    return None


def _end(process: int) -> None:
    """End whatever runs in the network of this process, and nothing else."""
    for number in _in_network(process):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def _in_network(process: int) -> list[int]:
    """The processes in the network of this one, which is not that of the tests."""
    network = _network(process)
    assert network and network != _network(os.getpid())
    numbers = (int(folder.name) for folder in Path("/proc").glob("[0-9]*"))
    return [number for number in numbers if _network(number) == network]


def _command(process: int) -> bytes:
    """Its command line, empty if it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _network(process: int) -> str:
    """The network namespace of a process, empty if there is no such process."""
    try:
        return str(Path(f"/proc/{process}/ns/net").readlink())
    except OSError:
        return ""
