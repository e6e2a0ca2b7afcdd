"""Where the data files that belong to curator lie.

`db/` and `seeds/` stand beside the package in a checkout, and inside it in a wheel.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def resource_folder(name: str) -> Path:
    """The folder `db` or `seeds`, wherever curator was installed from.

    Raises FileNotFoundError if the installation is incomplete.
    """
    for parent in (_PACKAGE, _PACKAGE.parent):
        folder = parent / name
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"curator's own folder `{name}` is missing: install it again")
