"""Duplicates: which files are the same, which pictures look the same, and dropping the others.

Exact duplicates are one image with several files; there is nothing to drop. Of near-duplicates the
others than the kept one are excluded by events, so that every drop can be taken back
(`catalogue/exclusions.py`). A thinning never drops an image that a person labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from curator.audits.certificate import count_valid_about
from curator.base.csv_files import csv_cell
from curator.base.files import check_destination, replacing
from curator.base.text import path_text
from curator.base.vocabulary import Origin
from curator.catalogue.audits import refuse_open_audit
from curator.catalogue.duplicates import DuplicateFile, exact_duplicates, near_duplicates
from curator.catalogue.engine import Catalogue
from curator.catalogue.exclusions import exclude, restore
from curator.catalogue.leases import lease
from curator.errors import UsageError
from curator.settings.sections import ClassesSettings

Rule = Literal["largest", "sharpest", "first"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateGroup:
    """Files of one image (`exact`), or images that look the same, each with one file (`near`).

    `files` begin with the one that would be kept by size: most pixels, then most bytes.
    """

    kind: Literal["exact", "near"]
    files: tuple[DuplicateFile, ...]

    @property
    def spare_bytes(self) -> int:
        """The bytes of all files but the first."""
        return sum(file.size for file in self.files[1:])

    def as_json(self) -> dict[str, Any]:
        """A group of `curator duplicates --json`."""
        return {
            "kind": self.kind,
            "spare_bytes": self.spare_bytes,
            "files": [
                {
                    "path": path_text(file.path),
                    "sha256": file.sha256.hex(),
                    "bytes": file.size,
                    "width": file.width,
                    "height": file.height,
                    "sharpness": file.sharpness,
                }
                for file in self.files
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinReport:
    """What a thinning dropped, or after a dry run would drop.

    Of `groups` near-duplicate groups `dropped` images are excluded, with `bytes` in their files;
    `labelled` images stay because people labelled them, although another one was kept.
    `promoted` of the dropped ones were promoted. `stale_certificates` held before, and do not any
    more.
    """

    rule: str
    groups: int
    dropped: int
    bytes: int
    labelled: int
    promoted: int
    stale_certificates: int
    dry_run: bool


def duplicates(catalogue: Catalogue) -> list[DuplicateGroup]:
    """All groups of two or more, those with the most bytes to spare first."""
    near = [
        DuplicateGroup(kind="near", files=tuple(sorted(files, key=_RANKS["largest"])))
        for files in near_duplicates(catalogue)
    ]
    exact = [
        DuplicateGroup(kind="exact", files=tuple(sorted(files, key=lambda file: file.path)))
        for files in exact_duplicates(catalogue)
    ]
    return sorted([*near, *exact], key=lambda group: (-group.spare_bytes, group.files[0].path))


def thin(catalogue: Catalogue, rule: str, *, actor: str, dry_run: bool = False) -> ThinReport:
    """Keep one image of each near-duplicate group by `rule`, and exclude the others.

    Images that people labelled all stay; where there are any, the others are dropped. Raises
    UsageError for a rule that does not exist, DataError while an audit is open, BusyError while an
    `add` or a round runs.
    """
    if rule not in _RANKS:
        raise UsageError(f"There is no rule `{rule}`.", f"Choose from {', '.join(get_args(Rule))}.")
    with lease(catalogue, "add"), lease(catalogue, "round"):
        refuse_open_audit(catalogue, "dropping near-duplicates")
        keeper_of: dict[int, int] = {}
        dropped: list[DuplicateFile] = []
        groups = labelled = 0
        for files in near_duplicates(catalogue):
            by_people = [file for file in files if file.is_labelled]
            keeper = min(by_people or files, key=_RANKS[rule])
            spare = [file for file in files if not file.is_labelled and file is not keeper]
            labelled += max(0, len(by_people) - 1)
            groups += bool(spare)
            dropped += spare
            keeper_of |= {file.image_id: keeper.image_id for file in spare}
        promoted = [file.standing for file in dropped if file.origin is Origin.PROMOTED]
        stale = count_valid_about(catalogue, {standing for standing in promoted if standing})
        if keeper_of and not dry_run:
            exclude(catalogue, keeper_of, actor=actor)
    return ThinReport(
        rule=rule,
        groups=groups,
        dropped=len(dropped),
        bytes=sum(file.size for file in dropped),
        labelled=labelled,
        promoted=len(promoted),
        stale_certificates=stale,
        dry_run=dry_run,
    )


def undo_drop(catalogue: Catalogue, *, actor: str) -> int:
    """Take the newest drop back that was not taken back yet; how many images it brings back.

    Raises DataError while an audit is open.
    """
    return len(restore(catalogue, actor=actor))


def duplicates_csv(groups: Iterable[DuplicateGroup], classes: ClassesSettings) -> str:
    """One row for each file, group by group, with the user's names of labels."""
    lines = [["group", "kind", "path", "sha256", "bytes", "width", "height", "sharpness", "label"]]
    for number, group in enumerate(groups, start=1):
        lines += [
            [
                csv_cell(cell)
                for cell in (
                    number, group.kind, path_text(file.path), file.sha256.hex(), file.size,
                    file.width, file.height,
                    None if file.sharpness is None else f"{file.sharpness:.4f}",
                    None if file.standing is None else classes.name_of(file.standing),
                )
            ]
            for file in group.files
        ]  # fmt: skip
    return "".join(",".join(line) + "\n" for line in lines)


def write_duplicates(
    groups: Sequence[DuplicateGroup],
    destination: Path,
    classes: ClassesSettings,
    *,
    force: bool = False,
) -> None:
    """Write `duplicates_csv` to a file. Raises StorageError if it exists or cannot be written."""
    check_destination(destination, force=force)
    with replacing(destination) as stream:
        stream.write(duplicates_csv(groups, classes).encode())


_RANKS: dict[str, Callable[[DuplicateFile], tuple[float, ...]]] = {
    "largest": lambda file: (-file.width * file.height, -file.size, file.image_id),
    "sharpest": lambda file: (
        -(file.sharpness or 0.0), -file.width * file.height, -file.size, file.image_id,
    ),
    "first": lambda file: (file.image_id,),
}  # fmt: skip
"""What makes an image the one that is kept: the smallest rank."""
