"""Starting an encoder: quick the second time, quiet always, and never on the network."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.classifiers.encoders.network_cache import (
    CachedNetwork,
    load_network,
    store_network,
)
from curator.classifiers.encoders.openvino_engine import OpenVinoEngine
from tests.classifiers.encoders.cases import encode_all, open_tiny, random_pixels
from tests.support.encoder import IMAGE_SIZE, MODEL

pytestmark = pytest.mark.slow

pytest.importorskip("openvino")

WATCHED = """
import socket, sys

def refuse(*arguments, **options):
    raise SystemExit(f"reached for the network: {arguments}")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
socket.create_connection = refuse
import numpy as np
from pathlib import Path
from curator.classifiers.encoders.encoder import open_encoder
from curator.settings.sections import ClassifierSettings, RuntimeSettings

classifier = ClassifierSettings(model=sys.argv[1], weights=sys.argv[2])
runtime, side = RuntimeSettings(batch_size=4, workers=1), int(sys.argv[3])
with open_encoder(classifier, runtime, image_size=side, cache_folder=Path(sys.argv[4])) as encoder:
    image = np.full((side, side, 3), 90, np.uint8)
    chunk, = encoder.encode([0], lambda item: image)
print(chunk.features.tobytes().hex()[:64])
print(sorted({"torch", "timm", "openvino_telemetry"} & {k for k, v in sys.modules.items() if v}))
"""


def start(home: Path, weights: Path, kept: Path) -> tuple[str, str]:
    """Open the tiny encoder in a fresh process that must neither warn nor connect."""
    command = [sys.executable, "-W", "error", "-c", WATCHED, MODEL, str(weights), str(IMAGE_SIZE)]
    keep = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")
    environment = {name: os.environ[name] for name in keep if name in os.environ}
    done = subprocess.run(
        [*command, str(kept)],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"HOME": str(home), "PYTHONPATH": str(Path.cwd())},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    bits, modules = done.stdout.splitlines()
    return bits, modules


def test_a_start_is_quiet_stays_offline_and_the_second_needs_no_torch(
    tmp_path: Path, tiny_weights: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    first, modules = start(home, tiny_weights, tmp_path / "kept")
    assert modules == "['timm', 'torch']"
    second, modules = start(home, tiny_weights, tmp_path / "kept")
    assert modules == "[]"
    assert first == second
    assert [path.name for path in home.rglob("*") if "telemetry" in path.name] == []
    assert not (home / "intel").exists()


def test_a_damaged_kept_network_is_made_again(tmp_path: Path, tiny_weights: Path) -> None:
    images = random_pixels(3)

    def features() -> bytes:
        with open_tiny(tiny_weights, tmp_path, batch_size=4, workers=1) as encoder:
            return encode_all(encoder, images).tobytes()

    right = features()
    (kept,) = (place / "network.bin" for place in tmp_path.iterdir())
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-4] + b"\x00\x00\x80\x3f")
    assert features() == right
    assert kept.read_bytes() == whole
    kept.with_name("encoder.json").write_text("{")
    assert features() == right


def test_the_kept_network_of_another_encoder_is_not_taken(tmp_path: Path) -> None:
    """Whole and unchanged, but in the folder of this one."""
    network = CachedNetwork(structure=b"<xml/>", weights=b"123", facts={"dimension": 3})
    other = CachedNetwork(structure=b"<xml/>", weights=b"321", facts={"dimension": 3})
    store_network(tmp_path, {"model": "a"}, network)
    (own,) = tmp_path.iterdir()
    store_network(tmp_path, {"model": "b"}, other)
    (foreign,) = (folder for folder in tmp_path.iterdir() if folder != own)
    for file in foreign.iterdir():
        (own / file.name).write_bytes(file.read_bytes())
    assert load_network(tmp_path, {"model": "a"}) is None
    store_network(tmp_path, {"model": "a"}, network)
    described = own / "encoder.json"
    described.write_text(described.read_text().replace('"dimension": 3', '"dimension": 4'))
    assert load_network(tmp_path, {"model": "a"}) is None


def test_kept_networks_do_not_pile_up_and_never_stand_in_the_way(tmp_path: Path) -> None:
    network = CachedNetwork(structure=b"<xml/>", weights=b"123", facts={"dimension": 3})
    folder = tmp_path / "kept"
    for number in range(7):
        store_network(folder, {"number": number}, network)
    assert load_network(folder, {"number": 6}) == network
    assert load_network(folder, {"number": 0}) is None
    assert len(list(folder.iterdir())) == 4
    (tmp_path / "file").touch()
    store_network(tmp_path / "file", {"number": 1}, network)
    assert load_network(tmp_path / "file", {"number": 1}) is None
    store_network(None, {"number": 1}, network)
    assert load_network(None, {"number": 1}) is None


def test_the_bindings_meet_arrays_before_there_are_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers that come to them first, at once, may wait for each other for ever."""
    import openvino
    from openvino import opset13 as ops

    met: list[tuple[int, np.dtype[Any]]] = []

    def tensor(array: NDArray[Any], shared_memory: bool = False) -> Any:
        met.append((threading.get_ident(), array.dtype))
        return openvino.Tensor(array, shared_memory=shared_memory)

    bindings = SimpleNamespace(Core=openvino.Core, Tensor=tensor)
    monkeypatch.setattr(
        "curator.classifiers.encoders.openvino_engine.import_openvino", lambda: bindings
    )
    pixels = ops.parameter([2, 8, 8, 3], openvino.Type.u8, "pixels")
    mean = ops.reduce_mean(ops.convert(pixels, "f32"), ops.constant(np.array([1, 2], np.int64)))
    structure = tmp_path / "network.xml"
    openvino.save_model(openvino.Model([mean], [pixels], "mean"), structure, compress_to_fp16=False)
    weights = structure.with_suffix(".bin")
    network = CachedNetwork(
        structure=structure.read_bytes(), weights=weights.read_bytes(), facts={}
    )
    engine = OpenVinoEngine(network, image_size=8, batch_size=2, precision="float32", workers=2)
    here = threading.get_ident()
    assert met == [(here, np.dtype(np.uint8)), (here, np.dtype(np.float32))]
    assert engine.run(engine.new_batch()).shape == (2, 3)
