"""Weights and converted networks that are made once for all tests of encoders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import encoder


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of the tiny test network."""
    return encoder.write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="session")
def kept_networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for converted networks, so that each is converted once."""
    return tmp_path_factory.mktemp("networks")
