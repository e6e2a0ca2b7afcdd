"""Who is at the keyboard, as label events remember it."""

from __future__ import annotations

import getpass


def current_user() -> str:
    """The name of the user who runs this process; front ends ask once and pass it on."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under an id that has no name
        return "unknown"
