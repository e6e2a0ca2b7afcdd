"""Handing a file to the system's own viewer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from curator.review.cards import ImageCard


def open_outside(card: ImageCard, *, in_browser: bool, folder: Path) -> str:
    """Open the file of a card in the system's viewer; what to tell the reviewer.

    A viewer shows the name of what it opens, and a name may tell the class: of a blind card
    it gets a link in `folder` that is named by nothing but the content.
    """
    if in_browser:
        return "The file lies on the computer that runs curator; it cannot be opened from here."
    if card.file is None:
        return "There is no file to open."
    opener = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
    path = _nameless(card, folder) if card.blind else card.file.path
    try:
        viewer = subprocess.Popen(
            [opener.encode(), path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return f"There is no `{opener}` on this computer to open it with."
    threading.Thread(target=viewer.wait, name="viewer", daemon=True).start()
    return "Opened in the system's viewer."


def _nameless(card: ImageCard, folder: Path) -> bytes:
    assert card.file is not None
    suffix = Path(os.fsdecode(card.file.path)).suffix
    link = folder / f"{card.sha256.hex()[:12]}{suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(os.fsdecode(card.file.path))
    return os.fsencode(link)
