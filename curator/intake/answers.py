"""Reading files of people's answers without guessing and without losing a row.

Every row of a CSV, or task of a Label Studio export (JSON, full or minimal), becomes an answer, an
unanswered row or a problem with its number; what to do about problems is for the caller, who
records nothing while there is one. Byte order marks, Windows line ends and semicolons or tabs
between cells are understood, because spreadsheets write them. Skipped tasks are unanswered;
people who disagree on one task are a problem to be settled in Label Studio. A file of known
labels, which simulations and evaluations need, is read the same way and never imported.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.base.values import Problem
from curator.base.vocabulary import Label
from curator.catalogue.engine import Catalogue
from curator.catalogue.images import find_by_sha256, images_by_path
from curator.errors import DataError
from curator.workspace import Workspace

REASON_SEPARATOR = "|"

SHOWN = 20
"""Most problems that are spelled out; the rest are counted."""

_DELIMITERS = (",", ";", "\t")
_IDENTITIES = ("sha256", "path")
_LABEL_STUDIO = "an export of Label Studio (JSON or JSON-MIN)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answered row: which image, and what was said about it, still as text.

    At least one of `sha256` (32 bytes) and `path` is given; where both are, the bytes of
    the image decide, not its name.
    """

    line: int
    sha256: bytes | None
    path: str | None
    label: str
    reasons: tuple[str, ...]
    note: str

    def shown_image(self) -> str:
        """The image for a message."""
        return f"`{self.sha256.hex() if self.sha256 else printable(self.path or '')}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFile:
    """What a file said: answers, rows whose label is empty, and rows that make no sense.

    `unit` is what `line` counts: lines of a CSV, tasks of a JSON file.
    """

    answers: list[Answer]
    unanswered: int
    problems: list[Problem]
    unit: str = "line"

    @classmethod
    def of_rows(cls, rows: Iterable[Answer | Problem], unit: str = "line") -> AnswerFile:
        """The rows of a file, each in its kind."""
        rows = list(rows)
        answers = [row for row in rows if isinstance(row, Answer)]
        return cls(
            answers=[answer for answer in answers if answer.label],
            unanswered=sum(not answer.label for answer in answers),
            problems=[row for row in rows if isinstance(row, Problem)],
            unit=unit,
        )


@dataclass(frozen=True, slots=True)
class KnownLabels:
    """The rows of a file of known labels.

    `labels` gives the label of each by line, `images` the ids of images that are catalogued.
    """

    answers: list[Answer]
    labels: dict[int, Label]
    images: dict[int, int]


def read_answers(file: Path, *, column: str = "label") -> AnswerFile:
    """Read a CSV with a header, a column `label`, and a column `path` or `sha256`.

    Another `column` may be what is asked for; its cells are the answers' `label`.
    `reasons` (separated by `|`) and `note` are read where they are there; other columns
    are ignored. Raises DataError if the file cannot be read as such a CSV at all.
    """
    rows = _csv_rows(file, column)
    header = _header(next(rows, None), file, column)
    return AnswerFile.of_rows(
        _csv_answer(line, cells, header, column)
        for line, cells in rows
        if any(cell.strip() for cell in cells)
    )


def read_annotations(file: Path) -> AnswerFile:
    """Read an export of Label Studio. Raises DataError if the file is no such thing at all."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.", "Name a file.") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{file} is not JSON: {error}.", f"Import {_LABEL_STUDIO}.") from error
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise DataError(f"{file} is not a list of tasks.", f"Import {_LABEL_STUDIO}.")
    return AnswerFile.of_rows(
        (_task_answer(number, task) for number, task in enumerate(content, start=1)), unit="task"
    )


def read_known_labels(workspace: Workspace, file: Path) -> KnownLabels:
    """Read a CSV file with `path` or `sha256`, and `label`. Raises DataError naming bad rows."""
    content, classes = read_answers(file), workspace.settings.classes
    labels: dict[int, Label] = {}
    problems = []
    for answer in content.answers:
        label = parse_label(answer.label, positive=classes.positive, negative=classes.negative)
        if label is None:
            problems.append(Problem(answer.line, f"there is no label `{printable(answer.label)}`"))
        else:
            labels[answer.line] = label
    # Labels that do not exist come first: they make all of the file suspect.
    if problems := problems or content.problems:
        rows = "1 row" if len(problems) == 1 else f"{len(problems):,} rows"
        raise DataError(
            f"{file}: {rows} cannot be understood:{shown_problems(problems)}\n",
            "Mend these rows.",
        )
    images = images_of_answers(workspace.catalogue, content.answers, file)
    return KnownLabels(answers=content.answers, labels=labels, images=images)


def parse_label(text: str, *, positive: str, negative: str) -> Label | None:
    """The label that `text` names, or None.

    The user's names come first, as they are and then without regard to case; after them
    `positive`, `negative` and `unsure`.
    """
    own = {positive: Label.POSITIVE, negative: Label.NEGATIVE}
    if text in own:
        return own[text]
    folded = {name.casefold(): label for name, label in own.items()}
    if len(folded) == len(own) and text.casefold() in folded:
        return folded[text.casefold()]
    return {str(label): label for label in Label}.get(text.casefold())


def images_of_answers(
    catalogue: Catalogue, answers: Sequence[Answer], file: Path
) -> dict[int, int]:
    """Line → image id for each answer whose image is known."""
    by_digest = find_by_sha256(catalogue, {answer.sha256 for answer in answers if answer.sha256})
    paths = {answer.path for answer in answers if answer.path and not answer.sha256}
    by_path = images_by_path(catalogue, paths, file)
    image_ids: dict[int, int] = {}
    for answer in answers:
        image_id = by_digest.get(answer.sha256) if answer.sha256 else by_path.get(answer.path or "")
        if image_id is not None:
            image_ids[answer.line] = image_id
    return image_ids


def shown_problems(problems: Sequence[Problem], unit: str = "line") -> str:
    """The first problems for a message, a line each."""
    return "".join(f"\n  {unit} {problem.line}: {problem.text}" for problem in problems[:SHOWN])


def printable(text: str) -> str:
    """`text` for a message: bytes that are no characters, and line ends, are shown escaped."""
    escaped = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return escaped.replace("\n", "\\n").replace("\r", "\\r")


def _csv_rows(file: Path, column: str) -> Iterator[tuple[int, list[str]]]:
    """The rows with the number of the line that each begins on."""
    try:
        with file.open("rb") as raw:
            if raw.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise DataError(f"{file} is UTF-16.", "Save it as CSV in UTF-8.")
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            delimiter = _delimiter(stream.readline(), column)
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            begins = 1
            for cells in reader:
                yield begins, cells
                begins = reader.line_num + 1
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.", "Name a CSV file.") from error
    except csv.Error as error:
        raise DataError(
            f"{file}, line {reader.line_num}: {error}.", "Save it as plain CSV in UTF-8."
        ) from error


def _delimiter(first_line: str, column: str) -> str:
    """The separator that makes the most of a header; a comma if none does."""

    def columns_named(delimiter: str) -> int:
        names = {cell.strip().strip('"').strip().lower() for cell in first_line.split(delimiter)}
        return len(names & {column, *_IDENTITIES})

    return max(_DELIMITERS, key=columns_named)


def _header(first: tuple[int, list[str]] | None, file: Path, column: str) -> list[str]:
    names = [name.strip().lower() for name in first[1]] if first else []
    used = [name for name in names if name in (column, *_IDENTITIES)]
    if column not in used or len(used) < 2:
        listed = ", ".join(printable(name) for name in names) or "nothing"
        raise DataError(
            f"{file} needs a header with `{column}` and `path` or `sha256`; it has {listed}.",
            "Add these column names as the first line.",
        )
    if len(set(used)) < len(used):
        raise DataError(f"{file} has a column twice in its header.", "Rename one of them.")
    return names


def _csv_answer(
    line: int, cells: Sequence[str], header: Sequence[str], column: str
) -> Answer | Problem:
    if len(cells) > len(header):
        text = f"{len(cells)} cells where the header has {len(header)}; quote cells with commas"
        return Problem(line, text)
    row = dict(itertools.zip_longest(header, cells, fillvalue=""))
    digest = row.get("sha256", "").strip()
    path = row.get("path", "")
    if not digest and not path:
        return Problem(line, "neither `path` nor `sha256` is given")
    try:
        sha256 = bytes.fromhex(digest) if digest else None
    except ValueError:
        sha256 = b""
    if sha256 is not None and len(sha256) != 32:
        return Problem(line, f"`{printable(digest)}` is not a SHA-256 of 64 hexadecimal digits")
    reasons = (reason.strip() for reason in row.get("reasons", "").split(REASON_SEPARATOR))
    return Answer(
        line=line,
        sha256=sha256,
        path=path or None,
        label=row[column].strip(),
        reasons=tuple(dict.fromkeys(reason for reason in reasons if reason)),
        note=row.get("note", "").strip(),
    )


def _task_answer(number: int, task: Mapping[str, Any]) -> Answer | Problem:
    data = task.get("data", task)
    if not isinstance(data, dict):
        return Problem(number, "`data` is missing")
    # The full format has people's annotations in each task, the minimal one only their values.
    annotations = [{name: _texts(task.get(name)) for name in ("label", "reasons", "note")}]
    if "annotations" in task:
        annotations = [
            _texts_by_name(annotation.get("result", []))
            for annotation in task["annotations"]
            if not annotation.get("was_cancelled")
        ]
    labelled = [texts for texts in annotations if texts.get("label")]
    labels = sorted({texts["label"][0] for texts in labelled})
    if len(labels) > 1:
        text = f"people disagree: {' and '.join(labels)}; settle it in Label Studio"
        return Problem(number, text)
    digest, path = str(data.get("sha256") or ""), str(data.get("path") or "")
    try:
        sha256 = bytes.fromhex(digest) if digest else None
    except ValueError:
        return Problem(number, f"`{digest}` is not a SHA-256")
    if sha256 is None and not path:
        return Problem(number, "the task has neither `path` nor `sha256` in its data")
    texts = labelled[0] if labelled else {}
    return Answer(
        line=number,
        sha256=sha256,
        path=path or None,
        label=labels[0] if labels else "",
        reasons=tuple(texts.get("reasons", [])),
        note=" ".join(texts.get("note", [])),
    )


def _texts_by_name(result: Any) -> dict[str, list[str]]:
    """What each control of an annotation says, by the control's name."""
    texts: dict[str, list[str]] = {}
    for part in result:
        value = part.get("value", {})
        texts.setdefault(part.get("from_name", ""), []).extend(
            _texts(value.get("choices")) or _texts(value.get("text"))
        )
    return texts


def _texts(value: Any) -> list[str]:
    """A text, a list of texts, or `{"choices": [...]}`, as a list."""
    if isinstance(value, dict):
        value = value.get("choices")
    if isinstance(value, str):
        return [value] if value else []
    return [str(text) for text in value] if isinstance(value, list) else []
