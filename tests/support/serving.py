"""Commands that serve a page, in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.command import CHECKOUT


@contextmanager
def serving(
    root: Path, *arguments: str, cwd: Path = CHECKOUT, **changes: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command of the workspace at `root`; the address that it says, and its process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TEXTUAL")}
    environment |= {"PYTHONPATH": str(CHECKOUT)} | changes
    process = subprocess.Popen(
        [sys.executable, "-m", "curator", "-w", str(root), *arguments],
        cwd=cwd, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env=environment,
    )  # fmt: skip
    said: list[str] = []
    stderr = process.stderr
    assert stderr is not None
    reader = threading.Thread(target=lambda: said.extend(iter(stderr.readline, "")))
    reader.start()
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://\S+", " ".join(said))):
            assert time.monotonic() < deadline, said
            assert process.poll() is None, said
            time.sleep(0.05)
        yield found[0], process
    finally:
        process.terminate()
        process.wait(timeout=30)
        reader.join(10)
        stderr.close()
