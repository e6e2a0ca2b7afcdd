"""People's labels: from a file of answers, or from the folders that images lie in.

Each row of a file has to name an image that is catalogued and a label that exists; what does not
is reported with its line. The decisions are one transaction, so an import that is interrupted has
not happened, and one that is repeated changes nothing. Labels by folder are seeds, imported, and
say the same when they are said again; what a person decided about an image by itself is not
overruled by the folder that it lies in.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH118
from __future__ import annotations

import difflib
import os
import shlex
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from curator.audits.answers import answers_to_audit
from curator.audits.certificate import valid_certificates
from curator.base.values import Decision, Problem
from curator.base.vocabulary import CurrentLabel, Label, Method, Origin
from curator.catalogue.audits import open_audit
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import KnownFile, RecordedFile
from curator.catalogue.labels import current, record_decisions
from curator.catalogue.leases import new_session
from curator.catalogue.random_draws import drawn_among
from curator.errors import DataError, UsageError
from curator.intake.answers import (
    Answer,
    Problems,
    printable,
    read_rows,
    with_images,
)
from curator.intake.queue_origin import (
    QueueReference,
    agreed_origin,
    read_queue,
    refuse_other_audit,
)
from curator.intake.sources import is_at_or_under, shown
from curator.settings.sections import ClassesSettings
from curator.sources.addresses import joined
from curator.sources.files import files_of
from curator.workspace import Workspace

LabelRules = Sequence[tuple[bytes, Label]]
"""Absolute folders or files, and the label of everything at or under each."""

_AT_ONCE = 2_000
_PERSONAL = (Method.SINGLE, Method.SHEET, Method.BLIND)


def _drawn_at_random(
    catalogue: Catalogue,
    decisions: Iterable[tuple[int, Decision]],
    problems: Problems,
    draw_id: int | None,
) -> list[tuple[int, Decision]]:
    """The decisions with their lines; an image that the draw has not handed out is a problem."""
    by_line = list(decisions)
    drawn = drawn_among(catalogue, [decision.image_id for _, decision in by_line], draw_id)
    for line, decision in by_line:
        if decision.image_id not in drawn:
            problems.add(
                line,
                "this image was not drawn at random (`curator queue random` draws), so its label"
                " cannot measure an error; import it with --origin review",
            )
    return by_line


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport:
    """What an import did.

    `answers` counts rows with a label, `unanswered` those without. `recorded` events are
    new, `unchanged` images had exactly this label already, `retracted` earlier decisions
    gave way to it. `conflicts` of the images stand contradicted now. `labels` is the
    user's label → images in the file. `queue` is the one that they come from, where the file
    says so. `stale_certificates` held before, and do not any more.
    """

    file: Path
    answers: int
    unanswered: int
    recorded: int
    unchanged: int
    retracted: int
    conflicts: int
    labels: dict[str, int]
    origin: Origin
    queue: str | None
    stale_certificates: int


def label(
    workspace: Workspace,
    file: Path,
    *,
    origin: Origin | None = None,
    replace: bool = False,
    names: Mapping[str, str] | None = None,
    actor: str,
) -> LabelReport:
    """Record the labels in a CSV file, or in a JSON export of Label Studio.

    Their origin follows from the queue that the file names (`queue_origin`); of a file that
    names none it is `origin`, or seeds. Raises UsageError if the two contradict each other.
    With `replace`, earlier human labels of these images that say otherwise are taken
    back, so that the file settles them; without it, imports that contradict each other
    make a conflict. `names` maps labels of the file to labels of the workspace. Raises UsageError
    for a mapping to something else; DataError, and records nothing, if any row cannot be used.
    """
    is_json = file.suffix.lower() == ".json"
    classes = workspace.settings.classes
    content = _FileOfLabels(classes, names or {})
    for row, image_id in with_images(workspace.catalogue, read_rows(file), file):
        content.take(row, image_id)
    content.report_unknown_labels()
    problems, queue = content.problems, content.queue
    origin = agreed_origin(queue, origin)
    method = Method.BLIND if origin in (Origin.CALIBRATION, Origin.AUDIT) else Method.IMPORT
    decisions = content.decisions(origin, method if queue is None else queue.method)
    if origin is Origin.CALIBRATION:
        draw_id = None if queue is None else queue.number
        decisions = iter(_drawn_at_random(workspace.catalogue, decisions, problems, draw_id))
    if origin is Origin.AUDIT:
        record = open_audit(workspace.catalogue)
        refuse_other_audit(queue, None if record is None else record.audit_id)
        by_line, audit_problems = answers_to_audit(
            workspace.catalogue, classes, decisions, replace=replace
        )
        for problem in audit_problems:
            problems.add(problem.line, problem.text)
        decisions = iter(by_line)
    if problems:
        raise DataError(
            f"{file}: {problems.line_count()} of {content.rows} rows cannot be imported, so none"
            f" was:{problems.shown('task' if is_json else 'line')}",
            content.advice(),
        )
    if not content.answers:
        raise DataError(
            f"No row of {file} has a label.", "Fill in the column `label`, then import it again."
        )
    valid = valid_certificates(workspace.catalogue)
    recorded = record_decisions(
        workspace.catalogue,
        (decision for _, decision in decisions),
        actor=actor,
        file=str(file.absolute()),
        splits=workspace.settings.splits,
        seed=workspace.settings.runtime.seed,
        replace=replace,
    )
    labels = content.images_by_label()
    return LabelReport(
        file=file,
        answers=content.answers,
        unanswered=content.unanswered,
        recorded=recorded.recorded,
        # An answer that the open audit holds already is not recorded a second time.
        unchanged=sum(labels.values()) - recorded.recorded,
        retracted=recorded.retracted,
        conflicts=recorded.conflicts,
        labels=dict(sorted((classes.name_of(label), number) for label, number in labels.items())),
        origin=origin,
        queue=None if queue is None else str(queue),
        stale_certificates=len(valid - valid_certificates(workspace.catalogue)),
    )


_LABELS = tuple(Label)


class _FileOfLabels:
    """What a file says about each image: 9 bytes an image, so that a million rows fit.

    Reasons and notes are kept as they are. `problems` is all that speaks against an import.
    """

    def __init__(self, classes: ClassesSettings, names: Mapping[str, str]) -> None:
        self.problems = Problems()
        self.answers = 0
        self.unanswered = 0
        self.rows = 0
        self.queue: QueueReference | None = None
        self._queue_cell: Answer | None = None
        self._classes = classes
        # By image id: the line of its first answer (0: none yet), and the label there.
        self._lines = array("q", [0])
        self._labels = bytearray(1)
        self._remarks: dict[int, tuple[tuple[str, ...], str]] = {}
        self._label_of_word: dict[str, Label] = {}
        for word, name in names.items():
            if (label := classes.label_of(name)) is None:
                raise UsageError(f"`{word}={name}`: {_no_label(name, classes)}.", "See --map.")
            self._label_of_word[word] = label
        # Values that are no labels: the first line and the number of rows of each.
        self._unknown_labels: dict[str, list[int]] = {}

    def take(self, row: Answer | Problem, image_id: int | None) -> None:
        """The next row of the file."""
        if isinstance(row, Problem):
            self.rows += 1
            self.problems.add(row.line, row.text)
            return
        if not row.label:
            self.unanswered += 1
            return
        self.rows += 1
        self.answers += 1
        self._take_queue(row)
        label = self._label(row)
        if image_id is None:
            self.problems.add(row.line, row.unknown_image())
        if row.reasons:
            for text in _unknown_reasons(row, self._classes):
                self.problems.add(row.line, text)
        if image_id is not None and label is not None:
            self._decide(row, image_id, label)

    def _take_queue(self, row: Answer) -> None:
        """All answers come from one queue; those without a word about it from none."""
        first = self._queue_cell
        if first is None:
            self._queue_cell = row
            self.queue = read_queue(row.queue)
            if row.queue and self.queue is None:
                text = (
                    f"there is no queue `{printable(row.queue)}`; rename that column if it is yours"
                )
                self.problems.add(row.line, text)
        elif row.queue != first.queue:
            text = (
                f"the column `queue` says `{printable(row.queue)}` here and"
                f" `{printable(first.queue)}` in line {first.line}; import each of them separately"
            )
            self.problems.add(row.line, text)

    def _label(self, row: Answer) -> Label | None:
        label = self._label_of_word.get(row.label)
        if label is None:
            label = self._classes.label_of(row.label)
            if label is None:
                self.problems.mark(row.line)
                self._unknown_labels.setdefault(row.label, [row.line, 0])[1] += 1
            else:
                self._label_of_word[row.label] = label
        return label

    def report_unknown_labels(self) -> None:
        """Make a problem of each value that is no label, at the first line that has it."""
        for text, (line, rows) in self._unknown_labels.items():
            again = f" ({rows:,} rows)" if rows > 1 else ""
            self.problems.add(line, f"{_no_label(text, self._classes)}{again}")

    def _decide(self, row: Answer, image_id: int, label: Label) -> None:
        if image_id >= len(self._lines):
            # Doubled, so that growing costs nothing per row.
            missing = max(2 * len(self._lines), image_id + 1) - len(self._lines)
            self._lines.frombytes(bytes(8 * missing))
            self._labels.extend(bytes(missing))
        line = self._lines[image_id]
        if not line:
            self._lines[image_id] = row.line
            self._labels[image_id] = _LABELS.index(label)
            if row.reasons or row.note:
                self._remarks[image_id] = (row.reasons, row.note)
        elif (earlier := _LABELS[self._labels[image_id]]) is not label:
            name_of = self._classes.name_of
            text = (
                f"{row.shown_image()} is {name_of(label)} here, but line {line} says"
                f" {name_of(earlier)}"
            )
            self.problems.add(row.line, text)

    def decisions(self, origin: Origin, method: Method) -> Iterator[tuple[int, Decision]]:
        """One decision for each image, with its line, in the order of the file."""
        lines = np.frombuffer(self._lines, np.int64)
        images = np.flatnonzero(lines)
        for image_id in images[np.argsort(lines[images])].tolist():
            reasons, note = self._remarks.get(image_id, ((), ""))
            decision = Decision(
                image_id=image_id,
                label=_LABELS[self._labels[image_id]],
                origin=origin,
                method=method,
                reasons=reasons,
                note=note,
            )
            yield self._lines[image_id], decision

    def advice(self) -> str:
        """What to do about the problems."""
        text = (
            "Correct these rows, or `curator add` the images that are missing, and import it again."
        )
        if self._unknown_labels:
            word = shlex.quote(next(iter(self._unknown_labels)))
            name = shlex.quote(self._classes.negative)
            text += f" `--map {word}={name}` reads a value as a label, in the whole file."
        return text

    def images_by_label(self) -> dict[Label, int]:
        """How many images have each label that occurs."""
        numbers = np.frombuffer(self._labels, np.uint8)[np.frombuffer(self._lines, np.int64) > 0]
        counts = np.bincount(numbers, minlength=len(_LABELS)).tolist()
        return {label: number for label, number in zip(_LABELS, counts, strict=True) if number}


def _no_label(text: str, classes: ClassesSettings) -> str:
    names = [classes.positive, classes.negative, str(Label.UNSURE)]
    near = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"use {names[0]}, {names[1]} or {names[2]}"
    return f"there is no label `{printable(text)}`; {hint}"


def _unknown_reasons(answer: Answer, classes: ClassesSettings) -> list[str]:
    """What is wrong with reasons outside the user's list; without a list, any reason will do."""
    if not classes.reasons:
        return []
    reasons = ", ".join(classes.reasons)
    return [
        f"there is no reason `{printable(reason)}`; known are {reasons}"
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
    if label is not None and by_subfolder:
        raise UsageError("--label and labels by subfolder exclude each other.", "Choose one.")
    if label is not None:
        named = classes.label_of(label)
        if named is None or named is Label.UNSURE:
            raise UsageError(
                f"`{label}` is not one of the two classes.",
                f"They are `{classes.positive}` and `{classes.negative}`.",
            )
        return [(path, named) for path in paths]
    if not by_subfolder:
        return []
    sides = {classes.positive: Label.POSITIVE, classes.negative: Label.NEGATIVE}
    rules = []
    for path in paths:
        folders = [(joined(path, name), sides[name]) for name in sides]
        class_folders = [rule for rule in folders if files_of(path).is_folder(rule[0])]
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
        self._session = new_session()
        self._file = ", ".join(dict.fromkeys(os.fsdecode(folder) for folder, _ in rules))
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
            self._catalogue,
            decisions,
            actor=self._actor,
            session=self._session,
            file=self._file,
            splits=self._splits,
            seed=self._seed,
        )
        self.recorded[label] += recorded.recorded
        if recorded.conflicts:
            labels = current(self._catalogue, image_ids)
            self.conflicts |= {
                image_id
                for image_id in image_ids
                if labels[image_id].standing is CurrentLabel.CONFLICT
            }
