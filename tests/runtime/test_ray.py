"""Work on a real Ray cluster: in order, exactly once, with ends to retries and clear errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.settings.file import FILE_NAME
from curator.settings.sections import RuntimeSettings
from tests.maintenance.test_moving import curate
from tests.runtime import ray_cases
from tests.support import encoder
from tests.support.cluster import RayCluster, running_cluster
from tests.support.command import curator
from tests.support.images import make_folder
from tests.support.postgres import running_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A cluster of one node with two processors."""
    with running_cluster() as running:
        yield running


def drive(cluster: RayCluster, case: Any, folder: Path, *more: str) -> Any:
    """What a driver printed about a case."""
    command = (sys.executable, "-m", "tests.runtime.ray_cases", case.__name__, folder, *more)
    stdout, stderr = cluster.start(*command).communicate(timeout=500)
    assert stdout.strip(), stderr
    return json.loads(stdout.strip().splitlines()[-1])


def test_workers_that_die_cost_their_chunk_and_only_what_kills_each_of_them_is_lost(
    cluster: RayCluster, tmp_path: Path
) -> None:
    result = drive(cluster, ray_cases.deaths, tmp_path)["result"]
    items = [*range(400), *range(500, 510)]
    expected = [[item, -1 if item == ray_cases.KILLS_ALWAYS else item**2] for item in items]
    assert result["pairs"] == expected
    assert result["ahead"] <= 9  # of 25: four for each of two workers, and the one that was given
    lines = (tmp_path / "chunks").read_text().splitlines()
    chunks = Counter(tuple(map(int, line.split())) for line in lines)
    # Three tries of the chunk, one of each part that holds the image, three of the image. One more
    # where it was begun behind another one whose answer was lost with the worker.
    assert [chunks[part] for part in ((72, 8), (76, 4), (76, 2))] == [1, 1, 1]
    assert {chunks[64, 16], chunks[77, 1]} <= {3, 4}
    assert (tmp_path / "died").exists()
    assert max(chunks.values()) <= 4


def test_errors_of_the_work_and_of_the_cluster_are_said(
    cluster: RayCluster, tmp_path: Path
) -> None:
    kind, problem, advice = drive(cluster, ray_cases.failure, tmp_path)["error"]
    assert (kind, problem, advice) == ("LearnError", "That cannot be done.", "Do something else.")
    kind, problem, advice = drive(cluster, ray_cases.mortality, tmp_path)["error"]
    assert kind == "LearnError" and "without finishing a chunk" in problem
    kind, problem, advice = drive(cluster, ray_cases.nothing, tmp_path, "9.9.9")["error"]
    assert kind == "SettingsError" and "9.9.9" in problem and "same version" in advice
    file = cluster.hidden / "image.jpg"
    file.touch()
    kind, problem, advice = drive(cluster, ray_cases.nothing, file)["error"]
    assert kind == "DataError" and str(file) in problem and "The node" in problem


def made(home: Path, pictures: Path, **runtime: Any) -> Path:
    """A workspace with these pictures and the tiny encoder."""
    root = home / "ws"
    weights = encoder.write_weights(home / "tiny.safetensors")
    curator("init", root)
    engine = [f"runtime.{name}={value}" for name, value in runtime.items()]
    curator("-w", root, "config", *encoder.settings(weights), *engine)
    curator("-q", "-w", root, "add", pictures)
    return root


def rows(root: Path) -> list[bytes]:
    """Names and bytes of the files of features and of packed pixels."""
    state = root / ".curator"
    files = [*(state / "features").iterdir(), *(state / "pixels").glob("*/*")]
    assert len({path.parent for path in files}) == 2
    return [path.name.encode() + path.read_bytes() for path in sorted(files)]


def working_processes(cluster: RayCluster, driver: subprocess.Popen[str]) -> list[int]:
    """The workers of a driver that have a chunk, once there are some."""
    while not (working := cluster.processes(b"ray::_Worker.run")):
        assert driver.poll() is None, driver.communicate()[1]
        time.sleep(0.01)
    return working


def test_killed_drivers_and_workers_lose_nothing_and_two_do_not_encode_at_once(
    cluster: RayCluster, tmp_path: Path
) -> None:
    pictures = make_folder(tmp_path / "pictures", good=40, bad=40, seed=3)
    roots = []
    for name, engine in (("here", "local"), ("there", "ray")):
        (tmp_path / name).mkdir()
        roots.append(made(tmp_path / name, pictures, engine=engine, chunk=4, batch_size=4))
    here, there = roots
    curator("-q", "-w", here, "encode")
    curator("-q", "-w", here, "pack")
    encode = (sys.executable, "-m", "curator", "-w", there, "encode")
    driver = cluster.start(*encode)
    working_processes(cluster, driver)
    driver.send_signal(signal.SIGSTOP)  # it must not be done before the next one has asked
    busy = cluster.curator("-w", there, "encode", expect=3)
    assert "Another `encode` is running" in busy.stderr
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    while cluster.processes(b"ray::_Worker"):
        time.sleep(0.1)  # Ray ends the workers of a driver that died
    driver = cluster.start(*encode)
    os.kill(working_processes(cluster, driver)[0], signal.SIGKILL)
    _, stderr = driver.communicate()
    assert not driver.returncode, stderr
    cluster.curator("-q", "-w", there, "pack")
    assert rows(there) == rows(here)
    assert not curator("-w", there, "verify", "--json").json()["findings"]


def test_300_pictures_give_the_same_on_a_server_with_a_cluster(
    cluster: RayCluster, tmp_path: Path
) -> None:
    pictures = make_folder(tmp_path / "pictures", good=150, bad=150, seed=5)
    with running_server() as server:
        made = []
        for name, url, helper in (
            ("here", "", None),
            ("there", server.url(server.new_database()), cluster),
        ):
            (tmp_path / name).mkdir()
            made.append(curate(tmp_path / name, pictures, url, helper))
    assert made[0] == made[1]
    assert len(made[0]) >= 4


def test_the_settings_have_no_part_in_what_is_recorded() -> None:
    recorded = RuntimeSettings(engine="ray", chunk=7).model_dump(mode="json")
    assert recorded == RuntimeSettings().model_dump(mode="json")


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense"])
def test_a_cluster_that_is_not_there_is_said_before_work_starts(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made(tmp_path, make_folder(tmp_path / "pictures", good=2, bad=2), engine="ray")
    monkeypatch.setenv("RAY_ADDRESS", address)
    outcome = curator("-w", root, "encode", expect=3)
    assert "RAY_ADDRESS" in outcome.stderr or "curator[ray]" in outcome.stderr
    assert "runtime.engine" in outcome.stderr
    curator("-w", root, "config", "runtime.engine=local")
    curator("-q", "-w", root, "encode")


def test_a_cluster_that_a_workspace_brings_is_asked_for_and_without_any_ray_starts_here(
    cluster: RayCluster, tmp_path: Path
) -> None:
    root = made(tmp_path, make_folder(tmp_path / "pictures", good=4, bad=4), engine="ray")
    settings = root / FILE_NAME
    brought = settings.read_text().replace("[runtime]", '[runtime]\nray_address = "127.0.0.1:9"')
    settings.write_text(brought)
    refused = cluster.curator("-w", root, "encode", expect=3)
    assert "has not been approved on this" in refused.stderr
    curator("-w", root, "config", "runtime.ray_address=127.0.0.1:9")
    absent = cluster.curator("-w", root, "encode", expect=3)
    assert "runtime.ray_address is `127.0.0.1:9`, but no Ray cluster" in absent.stderr
    curator("-w", root, "config", "runtime.ray_address=")
    cluster.curator("-q", "-w", root, "encode", RAY_ADDRESS="")
    assert not curator("-w", root, "verify", "--json").json()["findings"]
