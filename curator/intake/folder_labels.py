"""Labels that follow from where a file lies: everything under a path, or by subfolder.

They are seeds, imported, and say the same when they are said again: an interrupted `add`
is simply repeated. What a person decided about an image by itself is not overruled by
the folder that it lies in.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH112, PTH118
from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from curator.base.values import Decision
from curator.base.vocabulary import CurrentLabel, Label, Method, Origin
from curator.catalogue.files import KnownFile, RecordedFile
from curator.catalogue.labels import current, record_decisions
from curator.catalogue.units import SplitShares
from curator.errors import DataError, UsageError
from curator.intake.sources import is_at_or_under, shown
from curator.settings.sections import ClassesSettings
from curator.workspace import Workspace

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
    """Collects images that a folder gives a label, and records them in the walk's order.

    Files are known at once or only after they were read; whichever comes first, events
    are in the order of the walk, so that nothing downstream depends on timing.
    """

    def __init__(self, workspace: Workspace, rules: LabelRules, actor: str) -> None:
        self.recorded: Counter[Label] = Counter()
        self._catalogue = workspace.catalogue
        self._rules = rules
        self._actor = actor
        splits = workspace.settings.splits
        self._shares = SplitShares(
            calibration=splits.calibration_share,
            test=splits.test_share,
            seed=workspace.settings.runtime.seed,
        )
        self._walked: deque[tuple[bytes, KnownFile] | None] = deque()
        self._waiting: list[tuple[int, Label]] = []
        self._contradicted: set[int] = set()
        self._kept: set[int] = set()

    def expect(self) -> None:
        """The walk came to a file that has to be read first."""
        if self._rules:
            self._walked.append(None)

    def pass_known(self, root: bytes, file: KnownFile) -> None:
        """The walk came to a file that is catalogued."""
        if self._walked:
            self._walked.append((root, file))
        else:
            self._take(root, file)

    def pass_recorded(self, root: bytes, file: RecordedFile) -> None:
        """The next of the files that had to be read is recorded now."""
        if not self._rules:
            return
        self._walked.popleft()
        self._take(root, file)
        while self._walked and (passed := self._walked[0]) is not None:
            self._take(*passed)
            self._walked.popleft()

    def record(self) -> None:
        """Record what was collected so far."""
        ids = list(dict.fromkeys(image_id for image_id, _ in self._waiting))
        standing = current(self._catalogue, ids) if ids else {}
        personal = {
            image_id: found.standing
            for image_id, found in standing.items()
            if found.method in _PERSONAL
        }
        for label, pairs in groupby(self._waiting, key=itemgetter(1)):
            meant = list(dict.fromkeys(image_id for image_id, _ in pairs))
            self._record([image_id for image_id in meant if image_id not in personal], label)
            self._kept |= {image_id for image_id in meant if personal.get(image_id, label) != label}
        self._waiting.clear()

    def kept(self) -> int:
        """How many images kept another label, which a person gave them one by one."""
        return len(self._kept)

    def conflicts(self) -> int:
        """How many of the images stand contradicted."""
        return len(self._contradicted)

    def _take(self, root: bytes, file: KnownFile | RecordedFile) -> None:
        if not self._rules or file.quarantine is not None or file.image_id is None:
            return
        absolute = os.path.join(root, file.path)
        for place, label in self._rules:
            if is_at_or_under(absolute, place):
                self._waiting.append((file.image_id, label))
                break
        if len(self._waiting) >= _AT_ONCE:
            self.record()

    def _record(self, image_ids: Sequence[int], label: Label) -> None:
        if not image_ids:
            return
        decisions = [
            Decision(image_id=image_id, label=label, origin=Origin.SEED, method=Method.IMPORT)
            for image_id in image_ids
        ]
        done = record_decisions(self._catalogue, decisions, actor=self._actor, shares=self._shares)
        self.recorded[label] += done.recorded
        if done.conflicts:
            labels = current(self._catalogue, image_ids)
            self._contradicted |= {
                image_id
                for image_id in image_ids
                if labels[image_id].standing is CurrentLabel.CONFLICT
            }
