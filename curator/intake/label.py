"""People's labels: from a file of answers, or from the folders that images lie in.

Each row of a file has to name an image that is catalogued and a label that exists; what does not
is reported with its line. The decisions are one transaction, so an import that is interrupted has
not happened, and one that is repeated changes nothing. Labels by folder are seeds, imported, and
say the same when they are said again; what a person decided about an image by itself is not
overruled by the folder that it lies in.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH112, PTH118
from __future__ import annotations

import difflib
import os
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from curator.audits.answers import answers_to_audit
from curator.base.values import Decision, Problem
from curator.base.vocabulary import CurrentLabel, Label, Method, Origin
from curator.catalogue.files import KnownFile, RecordedFile
from curator.catalogue.labels import current, record_decisions
from curator.errors import DataError, UsageError
from curator.intake.answers import (
    SHOWN,
    Answer,
    images_of_answers,
    parse_label,
    printable,
    read_annotations,
    read_answers,
    shown_problems,
)
from curator.intake.sources import is_at_or_under, shown
from curator.settings.sections import ClassesSettings
from curator.workspace import Workspace

LabelRules = Sequence[tuple[bytes, Label]]
"""Absolute folders or files, and the label of everything at or under each."""

_AT_ONCE = 2_000
_PERSONAL = (Method.SINGLE, Method.SHEET, Method.BLIND)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport:
    """What an import did.

    `answers` counts rows with a label, `unanswered` those without. `recorded` events are
    new, `unchanged` images had exactly this label already, `retracted` earlier decisions
    gave way to it. `conflicts` of the images stand contradicted now. `labels` is the
    user's label → images in the file.
    """

    file: Path
    answers: int
    unanswered: int
    recorded: int
    unchanged: int
    retracted: int
    conflicts: int
    labels: dict[str, int]


def label(
    workspace: Workspace,
    file: Path,
    *,
    origin: Origin = Origin.SEED,
    replace: bool = False,
    actor: str,
) -> LabelReport:
    """Record the labels in a CSV file, or in a JSON export of Label Studio.

    With `replace`, earlier human labels of these images that say otherwise are taken
    back, so that the file settles them; without it, imports that contradict each other
    make a conflict. Raises DataError, and records nothing, if any row cannot be used.
    """
    content = read_annotations(file) if file.suffix.lower() == ".json" else read_answers(file)
    classes = workspace.settings.classes
    images = images_of_answers(workspace.catalogue, content.answers, file)
    by_line, problems = _decisions(content.answers, images, classes, origin)
    new_by_line = by_line
    if origin is Origin.AUDIT:
        new_by_line, audit_problems = answers_to_audit(
            workspace.catalogue, classes, by_line, replace=replace
        )
        problems += audit_problems
    if problems := sorted([*content.problems, *problems]):
        rows = len(content.answers) + len(content.problems)
        lines = len({problem.line for problem in problems})
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataError(
            f"{file}: {lines} of {rows} rows cannot be imported, so none was:"
            f"{shown_problems(problems, content.unit)}{more}\n",
            "Mend these rows, or `curator add` the images that are missing, and import it again.",
        )
    if not content.answers:
        raise DataError(
            f"No row of {file} has a label.", "Fill in the column `label`, then import it again."
        )
    recorded = record_decisions(
        workspace.catalogue,
        [decision for _, decision in new_by_line],
        actor=actor,
        splits=workspace.settings.splits,
        seed=workspace.settings.runtime.seed,
        replace=replace,
    )
    labels = Counter(classes.name_of(decision.label) for _, decision in by_line)
    return LabelReport(
        file=file,
        answers=len(content.answers),
        unanswered=content.unanswered,
        recorded=recorded.recorded,
        # An answer that the open audit holds already is not recorded a second time.
        unchanged=recorded.unchanged + len(by_line) - len(new_by_line),
        retracted=recorded.retracted,
        conflicts=recorded.conflicts,
        labels=dict(sorted(labels.items())),
    )


def _decisions(
    answers: Sequence[Answer], images: Mapping[int, int], classes: ClassesSettings, origin: Origin
) -> tuple[list[tuple[int, Decision]], list[Problem]]:
    """One decision per image with its line, and all that speaks against importing the file."""
    blind = origin in (Origin.CALIBRATION, Origin.AUDIT)
    method = Method.BLIND if blind else Method.IMPORT
    decided: dict[int, tuple[int, Decision]] = {}
    problems: list[Problem] = []
    for answer in answers:
        image_id = images.get(answer.line)
        label = parse_label(answer.label, positive=classes.positive, negative=classes.negative)
        if image_id is None:
            problems.append(Problem(answer.line, f"{answer.shown_image()} is not in the catalogue"))
        if label is None:
            problems.append(Problem(answer.line, _no_label(answer.label, classes)))
        problems += _unknown_reasons(answer, classes)
        if image_id is None or label is None:
            continue
        earlier = decided.get(image_id)
        if earlier is None:
            decision = Decision(
                image_id=image_id,
                label=label,
                origin=origin,
                method=method,
                reasons=answer.reasons,
                note=answer.note,
            )
            decided[image_id] = (answer.line, decision)
        elif earlier[1].label != label:
            other = f"line {earlier[0]} says {classes.name_of(earlier[1].label)}"
            text = f"{answer.shown_image()} is {classes.name_of(label)} here, but {other}"
            problems.append(Problem(answer.line, text))
    return list(decided.values()), problems


def _no_label(text: str, classes: ClassesSettings) -> str:
    names = [classes.positive, classes.negative, str(Label.UNSURE)]
    near = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"use {names[0]}, {names[1]} or {names[2]}"
    return f"there is no label `{printable(text)}`; {hint}"


def _unknown_reasons(answer: Answer, classes: ClassesSettings) -> list[Problem]:
    """Reasons outside the user's list; without a list, any reason will do."""
    if not classes.reasons:
        return []
    reasons = ", ".join(classes.reasons)
    return [
        Problem(answer.line, f"there is no reason `{printable(reason)}`; known are {reasons}")
        for reason in answer.reasons
        if reason not in classes.reasons
    ]


def label_rules(
    classes: ClassesSettings, paths: Sequence[bytes], *, label: str | None, by_subfolder: bool
) -> LabelRules:
    """Which label a file gets by the folder that it lies in.

    Raises UsageError if `label` is no class or both ways are asked for, DataError if a
    path has no subfolder that is named as a class.
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
        return [(path, by_name[label]) for path in paths]
    if not by_subfolder:
        return []
    named = {classes.positive: Label.POSITIVE, classes.negative: Label.NEGATIVE}
    rules = []
    for path in paths:
        folders = [(os.path.join(path, os.fsencode(name)), named[name]) for name in named]
        class_folders = [rule for rule in folders if os.path.isdir(rule[0])]
        if not class_folders:
            raise DataError(
                f"{shown(path)} has no folder `{classes.positive}` or `{classes.negative}`.",
                "Name the subfolders as your classes, or use --label for one class at a time.",
            )
        rules += class_folders
    return rules


class FolderLabels:
    """Collects images that a folder gives a label, and records them in the walk's order.

    Files are known at once or only after they were read; whichever comes first, events
    are in the order of the walk, so that nothing downstream depends on timing.

    `recorded` counts new labels, `conflicts` are images with contradicting labels, `unchanged`
    those that have another label, which a person gave them one by one.
    """

    def __init__(self, workspace: Workspace, rules: LabelRules, actor: str) -> None:
        self.recorded: Counter[Label] = Counter()
        self._catalogue = workspace.catalogue
        self._rules = rules
        self._actor = actor
        self._splits = workspace.settings.splits
        self._seed = workspace.settings.runtime.seed
        self._walked: deque[tuple[bytes, KnownFile] | None] = deque()
        self._waiting: list[tuple[int, Label]] = []
        self.conflicts: set[int] = set()
        self.unchanged: set[int] = set()

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
        records = current(self._catalogue, ids) if ids else {}
        personal = {
            image_id: record.standing
            for image_id, record in records.items()
            if record.method in _PERSONAL
        }
        for label, pairs in groupby(self._waiting, key=itemgetter(1)):
            image_ids = list(dict.fromkeys(image_id for image_id, _ in pairs))
            self._record([image_id for image_id in image_ids if image_id not in personal], label)
            self.unchanged |= {
                image_id for image_id in image_ids if personal.get(image_id, label) != label
            }
        self._waiting.clear()

    def _take(self, root: bytes, file: KnownFile | RecordedFile) -> None:
        if not self._rules or file.quarantine is not None or file.image_id is None:
            return
        absolute = os.path.join(root, file.path)
        for folder, label in self._rules:
            if is_at_or_under(absolute, folder):
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
        recorded = record_decisions(
            self._catalogue, decisions, actor=self._actor, splits=self._splits, seed=self._seed
        )
        self.recorded[label] += recorded.recorded
        if recorded.conflicts:
            labels = current(self._catalogue, image_ids)
            self.conflicts |= {
                image_id
                for image_id in image_ids
                if labels[image_id].standing is CurrentLabel.CONFLICT
            }
