"""Making, finding and opening a workspace.

A workspace is a folder with `curator.toml` and `.curator/`. The catalogue in
`.curator/` is the only truth; features, previews, models, scores and reports lie beside
it, each in a folder of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curator.catalogue.engine import Catalogue
from curator.settings import Settings

STATE_FOLDER = ".curator"


@dataclass(frozen=True, slots=True)
class Workspace:
    """An open workspace: where it is, what its user decided, and its catalogue."""

    root: Path
    settings: Settings
    catalogue: Catalogue

    def folder(self, name: str) -> Path:
        """`.curator/<name>`, made when it is first asked for."""
        folder = self.root / STATE_FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder
