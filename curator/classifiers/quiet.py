"""Keeping the heavy libraries quiet, and off the network.

torch, timm, OpenVINO and the hub client warn about deprecations, log their doubts and,
in OpenVINO's case, report usage home as soon as they are imported. None of that is for
the user of curator, so every import and every model construction happens inside
`quiet_libraries`, and OpenVINO is imported by `import_openvino` only.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LIBRARIES = ("torch", "timm", "openvino", "huggingface_hub", "root")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence warnings and log lines of the libraries while the block runs.

    Not for code that runs in several threads at once: Python's warning filters are global.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    levels = [logger.level for logger in loggers]
    root = logging.getLogger()
    # Without a handler, `logging.warning` would install one that prints, and leave it there.
    placeholder = logging.NullHandler()
    root.addHandler(placeholder)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(placeholder)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def import_openvino() -> Any:
    """OpenVINO, without its telemetry.

    Importing it normally sends an event to its makers unless the user has opted out.
    With `openvino_telemetry` marked as absent, it falls back to a stub that sends nothing.
    Raises ImportError where OpenVINO is not installed.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    with quiet_libraries():
        import openvino
    return openvino
