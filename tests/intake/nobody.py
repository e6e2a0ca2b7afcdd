"""Doing something without the superuser's rights, whoever runs the tests."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

_NOBODY = 65534


def as_nobody(work: Callable[[], Answer]) -> Answer:
    """What `work` returns in a forked process that is not the superuser.

    A process that is not the superuser already runs it itself.
    """
    if os.geteuid() != 0:
        return work()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Newer Pythons warn of forking beside threads; the child only looks at files.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
            os.write(writing, pickle.dumps(work()))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer: Answer = pickle.loads(stream.read())
    os.waitpid(child, 0)
    return answer
