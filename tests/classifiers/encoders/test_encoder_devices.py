"""Devices, engines and arithmetic: `auto` chooses, names must be there; memory may run out."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from curator.classifiers import devices
from curator.classifiers.devices import choose_placement, worker_count
from curator.classifiers.encoders.torch_engine import TorchEngine
from curator.errors import LearnError
from tests.classifiers.encoders.cases import random_pixels
from tests.support.needs import skip_unavoidably


def test_on_a_machine_without_a_gpu_the_processor_is_chosen() -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        skip_unavoidably("a machine without a GPU")
    chosen = choose_placement()
    assert chosen.device == "cpu"
    assert chosen.backend == ("openvino" if devices.openvino_installed() else "torch")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "tpu:0"])
def test_a_device_that_is_none_is_refused(device: str) -> None:
    with pytest.raises(LearnError, match="not a known device"):
        choose_placement(device=device)


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    there = torch.backends.mps.is_available() if device == "mps" else torch.cuda.is_available()
    if there:
        skip_unavoidably(f"a machine without {device}")
    with pytest.raises(LearnError, match=device) as caught:
        choose_placement(device=device)
    assert "auto" in caught.value.advice


def test_an_engine_that_does_not_fit_the_device_or_is_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "_checked_device", lambda device: device)
    with pytest.raises(LearnError, match="runs on the CPU"):
        choose_placement(device="cuda", backend="openvino")
    monkeypatch.setattr(devices, "openvino_installed", lambda: False)
    assert choose_placement(device="cpu").backend == "torch"
    with pytest.raises(LearnError, match="not installed"):
        choose_placement(device="cpu", backend="openvino")


def test_bfloat16_is_used_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def torch_precision(wish: str) -> str:
        return choose_placement(device="cpu", backend="torch", precision=wish).precision

    monkeypatch.setattr(devices, "cpu_flags", lambda: frozenset({"avx2", "avx512_bf16"}))
    assert torch_precision("auto") == "bfloat16"
    assert torch_precision("float32") == "float32"
    monkeypatch.setattr(devices, "cpu_flags", lambda: frozenset({"avx2"}))
    assert torch_precision("auto") == "float32"
    with pytest.raises(LearnError, match="bfloat16"):
        torch_precision("bfloat16")


def test_the_number_of_workers_is_the_users_or_what_cores_and_memory_allow() -> None:
    assert worker_count(7) == 7
    assert 1 <= worker_count(0) <= devices.core_count()


class Crowded(torch.nn.Module):
    """Stands for a network on a device with room for `room` images: the mean of each."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.sizes: list[int] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(pixels))
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return pixels.float().mean(dim=(1, 2, 3))[:, None]


def crowded_engine(room: int, batch_size: int = 24) -> tuple[TorchEngine, Crowded]:
    module = Crowded(room)
    engine = TorchEngine(
        module, image_size=4, batch_size=batch_size, device="cpu", precision="float32"
    )
    return engine, module


def test_out_of_memory_halves_the_batch_and_goes_on_without_losing_an_image() -> None:
    engine, module = crowded_engine(room=7)
    pixels = random_pixels(24, side=4)
    expected = pixels.reshape(24, -1).mean(axis=1)
    for _ in range(2):
        np.testing.assert_allclose(engine.run(pixels)[:, 0], expected, rtol=1e-6)
    assert module.sizes == [24, 12, *[6] * 8]
    engine.close()


def test_an_odd_batch_is_filled_up_so_that_all_parts_have_one_size() -> None:
    engine, module = crowded_engine(room=3, batch_size=7)
    pixels = random_pixels(7, side=4)
    found = engine.run(pixels)
    assert found.shape == (7, 1)
    np.testing.assert_allclose(found[:, 0], pixels.reshape(7, -1).mean(axis=1), rtol=1e-6)
    assert module.sizes == [7, 3, 3, 3]
    engine.close()


def test_threads_that_run_out_of_memory_together_halve_once() -> None:
    engine, _ = crowded_engine(room=12)
    pixels = random_pixels(24, side=4)
    gate = threading.Barrier(4)

    def work() -> None:
        gate.wait()
        engine.run(pixels)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.part_size == 12
    engine.close()


def test_a_device_without_room_for_one_image_is_an_error_that_says_what_to_do() -> None:
    engine, _ = crowded_engine(room=0)
    with pytest.raises(LearnError, match="too little free memory") as caught:
        engine.run(random_pixels(24, side=4))
    assert "cpu" in caught.value.advice
    engine.close()


def test_an_engine_gives_torch_its_threads_back() -> None:
    before = torch.get_num_threads()
    engine, _ = crowded_engine(room=24)
    assert torch.get_num_threads() == 1
    engine.close()
    assert torch.get_num_threads() == before
