"""Looking into the network from a process of its own, so that whoever asks is not held up.

PyTorch takes seconds to load, and while it does, other threads of its process wait too: an
interface would not answer keys. The process is started by the first question and kept for
the next ones. It sees the catalogue without being able to write, and ends with whoever
asked, however that one ends: it has nothing to read any more.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import IO

from curator.errors import CuratorError, LearnError
from curator.prediction.inside import Insight, NetworkView
from curator.workspace import Workspace

_PROGRAM = "from curator.prediction.onlooker import answer_questions; answer_questions()"
_POLITENESS = 10
"""By how much the process stands back where the interface wants the processor too."""
_LAST_WORDS = 2.0
"""Seconds that a process which answers no more may take to say why."""


class Onlooker:
    """Answers like `Insight`, from another process. `close` ends it, also while it works.

    Questions come from one thread at a time; `close` may come from any.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._closed = False

    def sight(self, image_id: int) -> NetworkView:
        """What the network sees in an image.

        Raises what `Insight.sight` raises, and LearnError if the process has ended.
        """
        process = self._ready()
        assert process.stdin is not None and process.stdout is not None
        try:
            pickle.dump(image_id, process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise self._ended(process) from error
        if isinstance(answer, CuratorError):
            raise answer
        assert isinstance(answer, NetworkView)
        return answer

    def close(self) -> None:
        """End the process at once, if there is one, and start no other."""
        with self._lock:
            self._closed = True
            self._end()

    def _ready(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise LearnError("The review is closed.")
            if self._process is None:
                self._process = self._start()
            return self._process

    def _start(self) -> subprocess.Popen[bytes]:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            # Modules are found where this process finds them.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
            # The terminal's own signals are for the interface.
            start_new_session=True,
        )
        assert process.stdin is not None
        known = self._workspace
        pickle.dump((known.root, known.settings, known.catalogue.path), process.stdin)
        process.stdin.flush()
        return process

    def _ended(self, process: subprocess.Popen[bytes]) -> LearnError:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LAST_WORDS)
        with self._lock:
            told = self._end()
        return LearnError(
            f"The process that looks into the network ended{told}.",
            "Ask once more; `curator inspect IMAGE` does the same outside the review.",
        )

    def _end(self) -> str:
        """Let the process go; how it ended and what it said last, for a sentence."""
        process, said, self._process, self._said = self._process, self._said, None, None
        if process is None or said is None:
            return ""
        process.kill()
        status = process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            # What was still to be written has nobody to read it.
            with suppress(OSError):
                pipe.close()
        with said:
            last = _last_line(said)
        return f" ({status}){': ' if last else ''}{last}"


def answer_questions() -> None:
    """The process's own part: an answer for each image id that is read, until there are none.

    Standard output is for answers; what libraries print goes where their warnings go.
    """
    from curator.catalogue.engine import Catalogue

    os.nice(_POLITENESS)
    answers, questions = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)
    root, settings, path = pickle.load(questions)
    with Catalogue.open(path, read_only=True) as catalogue:
        insight = Insight(Workspace(root, settings, catalogue))
        while True:
            try:
                image_id = pickle.load(questions)
            except EOFError:
                return
            pickle.dump(_answer(insight, image_id), answers)
            answers.flush()


def _answer(insight: Insight, image_id: int) -> NetworkView | CuratorError:
    try:
        return insight.sight(image_id)
    except CuratorError as error:
        return error


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
