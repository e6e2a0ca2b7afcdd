"""Handing a file to the system's own viewer."""

from __future__ import annotations

import subprocess
import sys
import threading

from curator.workflows.cards import Card


def open_outside(card: Card, *, in_browser: bool) -> str:
    """Open the file of a card in the system's viewer; what to tell the reviewer."""
    if in_browser:
        return "The file lies on the computer that runs curator; it cannot be opened from here."
    if card.file is None:
        return "There is no file to open."
    opener = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
    try:
        viewer = subprocess.Popen(
            [opener.encode(), card.file.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return f"There is no `{opener}` on this computer to open it with."
    threading.Thread(target=viewer.wait, name="viewer", daemon=True).start()
    return "Opened in the system's viewer."
