"""Work on a Ray cluster: one actor for each processor or GPU, two chunks for each actor.

Only Ray's core is used: actors, and objects between them and the driver, which is the process
that the command runs in. Curator starts and ends no cluster. Every node needs the same version
of curator, and sees sources and workspace at the same paths; nodes are asked before work starts.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from curator.base.agreements import agree, has_agreed
from curator.base.chunks import chunked
from curator.base.version import __version__
from curator.errors import LearnError, SettingsError
from curator.runtime.runtime import AHEAD, Item, Result, State, unseen
from curator.settings.sections import RuntimeSettings

TRIES = 3
"""So often is a chunk given to a worker that dies before it is split, and an image before it is
given up. A part of a chunk is given once before it is split again."""
_START_SECONDS = 600
_CONNECT_SECONDS = 10
_PRIVATE = "local"
"""The address at which Ray starts a cluster of this computer alone, until the command ends."""
_OWN = "", _PRIVATE, "auto"
"""Addresses that lead to no other computer than the user's own settings of Ray name."""


@dataclass(eq=False, slots=True)
class _Task:
    """A chunk that was taken, in how many workers it died, and its result once it is done."""

    chunk: list[Any]
    tries: int = 0
    result: Any = None
    is_done: bool = False


class _Worker:
    """What runs on a node: opened once, then given one chunk after the other."""

    def open(self, open_worker: Callable[[int], Any], work: Any, threads: int) -> None:
        self._state, self._work = open_worker(threads), work

    def run(self, chunk: list[Any]) -> Any:
        return self._work(self._state, chunk)


class RayRuntime:
    """A cluster, connected to until `close`."""

    is_here = False

    def __init__(self, settings: RuntimeSettings, needs: Sequence[bytes], *, on_gpu: bool) -> None:
        """Connect, and ask every node for its version and for the paths `needs`."""
        self._ray = _connected(settings.ray_address)
        self._chunk = settings.chunk
        try:
            self._check_nodes(needs)
            resources = self._ray.cluster_resources()
            cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
            total = gpus if on_gpu else cpus
            if not total:
                raise SettingsError(
                    f"The Ray cluster has {cpus} processors and {gpus} GPUs, and curator needs"
                    f" {'GPUs' if on_gpu else 'processors'}.",
                    "Start Ray with `--num-gpus` on nodes that have some, or set runtime.device.",
                )
            self.workers = min(settings.workers or total, total)
            self._threads = max(1, cpus // gpus) if on_gpu else 1
        except BaseException:
            self._ray.shutdown()
            raise
        options = {"num_cpus": self._threads, "num_gpus": int(on_gpu), "max_restarts": 0}
        self._actor = self._ray.remote(**options)(_Worker)
        self._idle: list[Any] = []  # a process that has imported curator is used again

    def close(self) -> None:
        """Leave the cluster; it goes on without this process."""
        self._ray.shutdown()

    @staticmethod
    def host(threads: int) -> str:
        """Called on a node: its name."""
        return socket.gethostname()

    def chunks(
        self, items: Iterable[Item], batch: int, most: int | None = None
    ) -> Iterator[list[Item]]:
        """The items in chunks of about `runtime.chunk`, or of `most` if that is less."""
        size = min(self._chunk, most or self._chunk)
        return chunked(items, max(1, size // batch) * batch)

    def map(
        self,
        open_worker: Callable[[int], State],
        work: Callable[[State, list[Item]], Result],
        chunks: Iterable[list[Item]],
        lost: Callable[[Item, str], Result],
    ) -> Iterator[Result]:
        """`work` of every chunk, or of its parts where it was split, in order."""
        job = open_worker, work, self._threads
        crew = _Crew(self._ray, self._actor, self._idle, self.workers, job, lost)
        remaining, is_last = iter(chunks), False
        try:
            while True:
                while not is_last and crew.wants_more():
                    chunk = next(remaining, None)
                    if chunk is None:
                        is_last = True
                    else:
                        crew.take(chunk)
                crew.hand_out()  # before results are recorded, so that nobody waits for that
                if crew.tasks and crew.tasks[0].is_done:
                    yield crew.tasks.pop(0).result
                elif crew.tasks or not is_last:
                    crew.wait()
                else:
                    return
        finally:
            self._idle = crew.close()

    def _check_nodes(self, needs: Sequence[bytes]) -> None:
        """Raise if a node cannot do this work: other versions, or files that it does not see."""

        # Nested, so that it is sent by value: a node without curator could not import it.
        def look(paths: list[bytes]) -> tuple[str, str, bytes | None]:
            try:
                from curator.base.version import __version__ as version
            except ImportError:
                version = ""
            blocked = (path for path in paths if not os.access(path, os.R_OK))
            return socket.gethostname(), version, next(blocked, None)

        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray = self._ray
        ids = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        looks = [
            ray.remote(num_cpus=0)(look)
            .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False))
            .remote(list(needs))
            for node_id in ids
        ]
        try:
            answers = ray.get(looks, timeout=_START_SECONDS)
        except ray.exceptions.RayError as error:
            raise SettingsError(
                "A node of the Ray cluster cannot start a worker"
                f" ({str(error).strip().partition(chr(10))[0]}).",
                "Look into Ray's logs on its nodes (/tmp/ray/session_latest/logs).",
            ) from error
        for host, version, blocked in answers:
            if version != __version__:
                raise SettingsError(
                    f"The node {host} of the Ray cluster has"
                    f" {f'curator {version}' if version else 'no curator'} in the environment of"
                    f" its workers, and this is {__version__}.",
                    "Install the same version on all nodes, and start Ray there from that"
                    " environment.",
                )
            if blocked is not None:
                raise unseen(blocked, host)


class _Crew:
    """The actors of one `map`, and the chunks that were taken and not given back yet.

    Chunks go only to actors that have started, so one that finds no room holds nothing up.
    """

    def __init__(
        self,
        ray: Any,
        actor_class: Any,
        idle: list[Any],
        workers: int,
        job: tuple[Any, Any, int],
        lost: Callable[[Any, str], Any],
    ) -> None:
        self.tasks: list[_Task] = []
        self._ray, self._class, self._workers, self._lost = ray, actor_class, workers, lost
        open_worker, work, self._threads = job
        self._prepared = ray.put(open_worker), ray.put(work)
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, deque[tuple[Any, _Task]]] = {}
        self._waiting: deque[_Task] = deque()
        self._deaths = 0
        for number in range(workers):
            self._start(idle[number] if number < len(idle) else actor_class.remote())

    def wants_more(self) -> bool:
        """Whether an actor has no next chunk; what waits for an earlier one is bounded, too."""
        room = AHEAD * len(self._running) - sum(map(len, self._running.values()))
        return room > len(self._waiting) and len(self.tasks) < 2 * AHEAD * self._workers

    def take(self, chunk: list[Any]) -> None:
        """Put a chunk behind those taken before."""
        self.tasks.append(_Task(chunk))
        self._waiting.append(self.tasks[-1])

    def hand_out(self) -> None:
        """Give actors that have started what waits, as far as they have room."""
        for depth in range(AHEAD):  # first one chunk for each actor, then the next
            for actor, running in self._running.items():
                # The answer of a chunk is lost if the actor dies at the next one at once. So a
                # chunk that was blamed once has an actor of its own, and no other is blamed for it.
                if not self._waiting or len(running) != depth:
                    continue
                if not running or not (self._waiting[0].tries or running[0][1].tries):
                    task = self._waiting.popleft()
                    running.append((actor.run.remote(task.chunk), task))

    def wait(self) -> None:
        """Wait until something has started, is done or has died."""
        working = {running[0][0]: actor for actor, running in self._running.items() if running}
        patience = None if self._running else _START_SECONDS
        ready, _ = self._ray.wait([*self._starting, *working], num_returns=1, timeout=patience)
        if not ready:
            raise LearnError(
                f"No worker of the Ray cluster has started in {_START_SECONDS} s.",
                "`ray status` shows what uses its processors and GPUs.",
            )
        for reference in ready:
            actor = working.get(reference) or self._starting.pop(reference)
            try:
                result = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except self._ray.exceptions.RayError as error:
                self._bury(actor, error)
                continue
            if reference in working:
                task = self._running[actor].popleft()[1]
                task.result, task.is_done, self._deaths = result, True, 0
            else:
                self._running[actor] = deque()

    def close(self) -> list[Any]:
        """End the actors that are still at work; the others."""
        if not self._ray.is_initialized():
            return []  # after an error the connection may be closed first, and the actors with it
        for actor in self._starting.values():
            self._ray.kill(actor)
        for actor, running in self._running.items():
            if running:
                self._ray.kill(actor)
        return [actor for actor, running in self._running.items() if not running]

    def _start(self, actor: Any) -> None:
        self._starting[actor.open.remote(*self._prepared, self._threads)] = actor

    def _bury(self, actor: Any, error: Exception) -> None:
        """Give the chunks of an actor that died to others, and replace it."""
        self._deaths += 1
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if self._deaths > 4 * TRIES + 2 * self._workers:
            raise LearnError(
                f"Workers of the Ray cluster ended {self._deaths} times without finishing a chunk"
                f" in between. Last reason: {reason}",
                "Look into Ray's logs on its nodes (/tmp/ray/session_latest/logs).",
            ) from error
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(actor)
        running = [task for _, task in self._running.pop(actor, ())]
        self._waiting.extendleft(reversed(running))
        if running:
            # It did one chunk after the other, so it died at the first.
            self._blame(running[0], reason)
        self._start(self._class.remote())

    def _blame(self, task: _Task, reason: str) -> None:
        task.tries += 1
        if task.tries < TRIES:
            return
        self._waiting.remove(task)
        if len(task.chunk) == 1:
            why = f"its worker died {TRIES} times while it processed this image: {reason}"
            task.result, task.is_done = self._lost(task.chunk[0], why), True
            return
        half = len(task.chunk) // 2
        parts = [_Task(part) for part in (task.chunk[:half], task.chunk[half:])]
        for part in parts:
            part.tries = TRIES - 1 if len(part.chunk) > 1 else 0
        at = self.tasks.index(task)
        self.tasks[at : at + 1] = parts
        self._waiting.extendleft(reversed(parts))


def trust_cluster(address: str) -> None:
    """Note that the user of this computer trusts the cluster that `runtime.ray_address` names."""
    if address not in _OWN:
        agree(f"ray {address}", {"ray_address": address})


def _connected(setting: str) -> Any:
    """Ray, connected to the cluster of the settings, of RAY_ADDRESS, or of this computer alone."""
    # No telemetry, and no warning about variables that Ray is going to leave alone.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise SettingsError(
            "runtime.engine is `ray`, and Ray is not installed here.",
            "Install it with `pip install 'curator[ray]'`, or set runtime.engine to `local`.",
        ) from error
    # What workers answer is unpickled, so a workspace from somebody else must not choose them.
    if setting not in _OWN and not has_agreed(f"ray {setting}"):
        raise SettingsError(
            f"curator.toml names a Ray cluster at {setting}, which has not been approved on this"
            " computer. A Ray cluster can run any code here.",
            f"If you trust it: `curator config runtime.ray_address={setting}`.",
        )
    name = "runtime.ray_address" if setting else "RAY_ADDRESS"
    address = setting or os.environ.get("RAY_ADDRESS") or _PRIVATE
    try:
        if address not in _OWN:
            # Ray itself would try for minutes.
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        options = {"include_dashboard": False} if address == _PRIVATE else {}
        ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
    except (OSError, ValueError, OverflowError, RuntimeError) as error:
        raise SettingsError(
            f"{name} is `{address}`, but no Ray cluster accepts a connection there"
            f" ({getattr(error, 'strerror', None) or error}).",
            "Set it to the HOST:PORT that `ray start --head` printed, with the same versions of"
            " Ray and Python, or set runtime.engine to `local`.",
        ) from error
    return ray
