"""A workspace over real image files: two sources, labels of people and of a round."""

from __future__ import annotations

from pathlib import Path

from curator.catalogue.images import find_by_paths
from curator.intake.add import add
from curator.workspace import Workspace
from tests.support.filled import promote
from tests.support.images import make_folder

HUMAN, PROMOTED = 12, 8
"""Images of each class that a person, and that a round, labelled; `promote` leaves two."""


def curate(workspace: Workspace, root: Path) -> dict[str, int]:
    """Pictures under `root`, half of each class labelled; file name → image id.

    Everything in `studio/good` and `studio/bad` is labelled by a person, of `street` a
    round labels all but one image of each class. Files of the same class have the same names
    in both.
    """
    make_folder(root / "studio", good=HUMAN, bad=HUMAN, seed=1)
    make_folder(root / "street", good=PROMOTED + 1, bad=PROMOTED + 1, seed=2)
    for name, label in (("good", "good"), ("bad", "bad")):
        add(
            workspace,
            [root / "studio" / name],
            label=label,
            subfolders_are_classes=False,
            source=f"studio {name}",
            licence="CC-BY-4.0",
            attribution="A. Photographer",
            rehash=False,
            actor="tester",
        )
    add(
        workspace,
        [root / "street"],
        label=None,
        subfolders_are_classes=False,
        source="street",
        licence="CC0-1.0",
        attribution="",
        rehash=False,
        actor="tester",
    )
    files = sorted(file for file in root.rglob("*") if file.is_file())
    found = find_by_paths(workspace.catalogue, [str(file).encode() for file in files])
    ids = {str(file.relative_to(root)): found[str(file).encode()] for file in files}
    scores = {}
    for name, high, middle in (("good", 0.995, 0.7), ("bad", 0.005, 0.3)):
        of_class = [one for file, one in ids.items() if file.startswith(f"street/{name}")]
        scores |= dict.fromkeys(of_class[1:], high) | {of_class[0]: middle}
    promote(workspace, scores)
    return ids
