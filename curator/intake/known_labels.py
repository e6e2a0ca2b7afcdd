"""Labels that are known beforehand, read from a CSV file: what judging and rehearsing need.

A file of known labels looks like one that is imported, and is never imported: nothing here
writes to a workspace.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curator.base.vocabulary import Label
from curator.errors import DataError
from curator.intake.answers import Answer, parse_label, printable, read_answers
from curator.intake.label import images_of_answers
from curator.settings.sections import ClassesSettings
from curator.workspace import Workspace

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class KnownLabels:
    """The rows of a file: `labels` gives the label of each by line, `images` the known images."""

    answers: list[Answer]
    labels: dict[int, Label]
    images: dict[int, int]


def read_known_labels(workspace: Workspace, file: Path) -> KnownLabels:
    """Read a CSV file with `path` or `sha256`, and `label`. Raises DataError naming bad rows."""
    content = read_answers(file)
    labels = _labels(content.answers, workspace.settings.classes, file)
    problems = [f"line {problem.line}: {problem.text}" for problem in content.problems]
    if problems:
        raise _refusal(file, problems)
    return KnownLabels(
        answers=list(content.answers),
        labels=labels,
        images=images_of_answers(workspace, content.answers, file),
    )


def _labels(answers: list[Answer], classes: ClassesSettings, file: Path) -> dict[int, Label]:
    known: dict[int, Label] = {}
    problems = []
    for answer in answers:
        meant = parse_label(answer.label, positive=classes.positive, negative=classes.negative)
        if meant is None:
            problems.append(f"line {answer.line}: there is no label `{printable(answer.label)}`")
        else:
            known[answer.line] = meant
    if problems:
        raise _refusal(file, problems)
    return known


def _refusal(file: Path, problems: list[str]) -> DataError:
    shown = "".join(f"\n  {problem}" for problem in problems[:_SHOWN])
    return DataError(
        f"{file}: {'1 row' if len(problems) == 1 else f'{len(problems):,} rows'} cannot be"
        f" understood:{shown}\n",
        "Mend these rows.",
    )
