"""Importing people's labels from a CSV file: all of them, or none and the reasons why.

Each row has to name an image that is catalogued and a label that exists; what does not
is reported with its line. The decisions are one transaction, so an import that is
interrupted has not happened, and one that is repeated changes nothing.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from curator.audits.answers import answers_to_audit
from curator.base.values import Decision, Problem
from curator.base.vocabulary import Label, Method, Origin
from curator.catalogue.images import images_by_path, images_by_sha256
from curator.catalogue.labels import record_decisions
from curator.catalogue.units import SplitShares
from curator.errors import DataError
from curator.intake.answers import Answer, AnswerFile, parse_label, printable, read_answers
from curator.intake.label_studio import read_annotations
from curator.settings.sections import ClassesSettings
from curator.workspace import Workspace

SHOWN = 20
"""Most problems that are spelled out; the rest are counted."""

_CHUNK = 10_000


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
    content = _read(file)
    classes = workspace.settings.classes
    images = images_of_answers(workspace, content.answers, file)
    given, problems = _decisions(content.answers, images, classes, origin)
    numbered = given
    if origin is Origin.AUDIT:
        numbered, wrong = answers_to_audit(workspace, given, replace=replace)
        problems += wrong
    decided = [decision for _, decision in numbered]
    repeated = len(given) - len(decided)
    if found := sorted([*content.problems, *problems]):
        rows = len(content.answers) + len(content.problems)
        raise _refusal(file, found, rows, content.unit)
    if not content.answers:
        raise DataError(
            f"No row of {file} has a label.", "Fill in the column `label`, then import it again."
        )
    splits = workspace.settings.splits
    done = record_decisions(
        workspace.catalogue,
        decided,
        actor=actor,
        shares=SplitShares(
            calibration=splits.calibration_share,
            test=splits.test_share,
            seed=workspace.settings.runtime.seed,
        ),
        replace=replace,
    )
    counted = Counter(classes.name_of(decision.label) for _, decision in given)
    return LabelReport(
        file=file,
        answers=len(content.answers),
        unanswered=content.unanswered,
        recorded=done.recorded,
        unchanged=done.unchanged + repeated,
        retracted=done.retracted,
        conflicts=done.conflicts,
        labels=dict(sorted(counted.items())),
    )


def images_of_answers(
    workspace: Workspace, answers: Sequence[Answer], file: Path
) -> dict[int, int]:
    """Line → image id for each answer whose image is known."""
    by_digest = images_by_sha256(
        workspace.catalogue, {answer.sha256 for answer in answers if answer.sha256}
    )
    named = {answer.path for answer in answers if answer.path and not answer.sha256}
    by_path = images_by_path(workspace.catalogue, named, file)
    found: dict[int, int] = {}
    for answer in answers:
        image = by_digest.get(answer.sha256) if answer.sha256 else by_path.get(answer.path or "")
        if image is not None:
            found[answer.line] = image
    return found


def _decisions(
    answers: Sequence[Answer], images: Mapping[int, int], classes: ClassesSettings, origin: Origin
) -> tuple[list[tuple[int, Decision]], list[Problem]]:
    """One decision per image with its line, and all that speaks against importing the file."""
    blind = origin in (Origin.CALIBRATION, Origin.AUDIT)
    method = Method.BLIND if blind else Method.IMPORT
    decided: dict[int, tuple[int, Decision]] = {}
    problems: list[Problem] = []
    for answer in answers:
        image = images.get(answer.line)
        meant = parse_label(answer.label, positive=classes.positive, negative=classes.negative)
        if image is None:
            problems.append(Problem(answer.line, f"{_shown_image(answer)} is not in the catalogue"))
        if meant is None:
            problems.append(Problem(answer.line, _no_label(answer.label, classes)))
        problems += _unknown_reasons(answer, classes)
        if image is None or meant is None:
            continue
        earlier = decided.get(image)
        if earlier is None:
            decision = Decision(
                image_id=image,
                label=meant,
                origin=origin,
                method=method,
                reasons=answer.reasons,
                note=answer.note,
            )
            decided[image] = (answer.line, decision)
        elif earlier[1].label != meant:
            other = f"line {earlier[0]} says {classes.name_of(earlier[1].label)}"
            text = f"{_shown_image(answer)} is {classes.name_of(meant)} here, but {other}"
            problems.append(Problem(answer.line, text))
    return list(decided.values()), problems


def _shown_image(answer: Answer) -> str:
    name = answer.sha256.hex() if answer.sha256 else answer.path or ""
    return f"`{printable(name)}`"


def _no_label(text: str, classes: ClassesSettings) -> str:
    known = [classes.positive, classes.negative, str(Label.UNSURE)]
    near = difflib.get_close_matches(text, known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"use {known[0]}, {known[1]} or {known[2]}"
    return f"there is no label `{printable(text)}`; {hint}"


def _unknown_reasons(answer: Answer, classes: ClassesSettings) -> list[Problem]:
    """Reasons outside the user's list; without a list, any reason will do."""
    if not classes.reasons:
        return []
    known = ", ".join(classes.reasons)
    return [
        Problem(answer.line, f"there is no reason `{printable(reason)}`; known are {known}")
        for reason in answer.reasons
        if reason not in classes.reasons
    ]


def _read(file: Path) -> AnswerFile:
    """A CSV, or by its suffix an export of Label Studio."""
    return read_annotations(file) if file.suffix.lower() == ".json" else read_answers(file)


def _refusal(file: Path, problems: Sequence[Problem], rows: int, unit: str) -> DataError:
    lines = len({problem.line for problem in problems})
    shown = "".join(f"\n  {unit} {problem.line}: {problem.text}" for problem in problems[:SHOWN])
    more = len(problems) - SHOWN
    rest = f"\n  and {more} more" if more > 0 else ""
    return DataError(
        f"{file}: {lines} of {rows} rows cannot be imported, so none was:{shown}{rest}\n",
        "Mend these rows, or `curator add` the images that are missing, and import it again.",
    )
