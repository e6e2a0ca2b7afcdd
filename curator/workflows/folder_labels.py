"""Labels that follow from where a file lies: everything under a path, or by subfolder.

They are seeds, imported, and say the same when they are said again: an interrupted `add`
is simply repeated. What a person decided about an image by itself is not overruled by
the folder that it lies in.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH112, PTH118
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from curator.catalogue.files import KnownFile, RecordedFile
from curator.catalogue.labels import SplitShares, current, record_decisions
from curator.core.records import Decision
from curator.core.words import Label, Method, Origin, Standing
from curator.errors import DataError, UsageError
from curator.settings import ClassesSettings
from curator.workflows.places import is_at_or_under, shown
from curator.workflows.workspace import Workspace

LabelRules = Sequence[tuple[bytes, Label]]
"""Absolute folders or files, and the label of everything at or under each."""

_AT_ONCE = 2_000
_PERSONAL = (Method.SINGLE, Method.SHEET, Method.BLIND)


def label_rules(
    classes: ClassesSettings, places: Sequence[bytes], *, label: str | None, by_subfolder: bool
) -> LabelRules:
    """Which label a file gets by its place.

    Raises UsageError if `label` is no class or both ways are asked for, DataError if a
    place has no subfolder that is named as a class.
    """
    by_name = {
        "positive": Label.POSITIVE,
        "negative": Label.NEGATIVE,
        classes.positive: Label.POSITIVE,
        classes.negative: Label.NEGATIVE,
    }
    if label is not None and by_subfolder:
        raise UsageError(
            "A label for everything and labels by subfolder exclude each other.", "Choose one."
        )
    if label is not None:
        if label not in by_name:
            raise UsageError(
                f"`{label}` is not one of the two classes.",
                f"They are `{classes.positive}` and `{classes.negative}`.",
            )
        return [(place, by_name[label]) for place in places]
    if not by_subfolder:
        return []
    named = {classes.positive: Label.POSITIVE, classes.negative: Label.NEGATIVE}
    rules = []
    for place in places:
        folders = [(os.path.join(place, os.fsencode(name)), name) for name in named]
        there = [(folder, named[name]) for folder, name in folders if os.path.isdir(folder)]
        if not there:
            raise DataError(
                f"{shown(place)} has no folder `{classes.positive}` or `{classes.negative}`.",
                "Name the subfolders as your classes, or use --label for one class at a time.",
            )
        rules += there
    return rules


class FolderLabels:
    """Collects images that a folder gives a label, and records them in portions."""

    def __init__(self, workspace: Workspace, rules: LabelRules, actor: str) -> None:
        self.recorded: Counter[Label] = Counter()
        self.kept = 0
        self._catalogue = workspace.catalogue
        self._rules = rules
        self._actor = actor
        splits = workspace.settings.splits
        self._shares = SplitShares(
            calibration=splits.calibration_share,
            test=splits.test_share,
            seed=workspace.settings.runtime.seed,
        )
        self._waiting: list[tuple[int, Label]] = []
        self._contradicted: set[int] = set()

    def offer(self, root: bytes, file: KnownFile) -> None:
        """A catalogued file; taken if it is usable and lies where a label follows."""
        if file.quarantine is None and file.image_id is not None:
            self._take(root, file.path, file.image_id)

    def offer_recorded(self, root: bytes, file: RecordedFile) -> None:
        """The same for a file that has just been recorded."""
        if file.quarantine is None and file.image_id is not None:
            self._take(root, file.path, file.image_id)

    def _take(self, root: bytes, path: bytes, image_id: int) -> None:
        if not self._rules:
            return
        absolute = os.path.join(root, path)
        for place, label in self._rules:
            if is_at_or_under(absolute, place):
                self._waiting.append((image_id, label))
                break
        if len(self._waiting) >= _AT_ONCE:
            self.record()

    def record(self) -> None:
        """Record what was collected, in one transaction."""
        if not self._waiting:
            return
        ids = list(dict.fromkeys(image_id for image_id, _ in self._waiting))
        standing = current(self._catalogue, ids)
        personal = {image_id for image_id in ids if standing[image_id].method in _PERSONAL}
        for label in (Label.POSITIVE, Label.NEGATIVE):
            self._record(
                [pair for pair in self._waiting if pair[1] is label and pair[0] not in personal]
            )
        self.kept += len(personal)
        self._waiting.clear()

    def _record(self, pairs: Sequence[tuple[int, Label]]) -> None:
        if not pairs:
            return
        label = pairs[0][1]
        decisions = [
            Decision(image_id=image_id, label=label, origin=Origin.SEED, method=Method.IMPORT)
            for image_id in dict.fromkeys(image_id for image_id, _ in pairs)
        ]
        done = record_decisions(self._catalogue, decisions, actor=self._actor, shares=self._shares)
        self.recorded[label] += done.recorded
        if done.conflicts:
            ids = [decision.image_id for decision in decisions]
            labels = current(self._catalogue, ids)
            self._contradicted |= {
                image_id for image_id in ids if labels[image_id].standing is Standing.CONFLICT
            }

    def conflicts(self) -> int:
        """How many of the images stand contradicted."""
        return len(self._contradicted)
