"""Reading files of people's answers without guessing and without losing a row.

Every row of a CSV, task of a Label Studio export (JSON, full or minimal), or sample of FiftyOne
becomes an answer, an unanswered row or a problem with its number; what to do about problems is for
the caller, who records nothing while there is one. A CSV is read row by row, so that its size does
not matter. Byte order marks, Windows line ends and semicolons or tabs between cells are understood,
because spreadsheets write them. Skipped tasks are unanswered; people who disagree on one task are a
problem to be settled in Label Studio. A sample whose label is the one that curator exported is
unanswered, unless somebody tagged it: nobody has looked at it. A file of known labels, which
simulations and evaluations need, is read the same way and never imported.
"""

from __future__ import annotations

import csv
import heapq
import itertools
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from curator.base.chunks import chunked
from curator.base.csv_files import cell_text, opened_csv
from curator.base.text import count
from curator.base.values import Problem
from curator.base.vocabulary import Label
from curator.catalogue.engine import Catalogue
from curator.catalogue.images import PathFinder, find_by_sha256, finder_for_file, several_forms
from curator.errors import DataError
from curator.workspace import Workspace

REASON_SEPARATOR = "|"

SHOWN = 20
"""Most problems that are spelled out; the rest are counted."""

_AT_ONCE = 10_000
"""Rows whose images are looked up together."""

_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_SHA256 = re.compile("[0-9a-fA-F]{64}")
_DELIMITERS = (",", ";", "\t")
_IDENTITIES = ("sha256", "path")
_TOOLS = "an export of Label Studio (JSON or JSON-MIN), or samples.json of a FiftyOne dataset"
_CHECKED = "checked"
"""The tag of a sample in FiftyOne, or of its label, that confirms the label."""


class Answer(NamedTuple):
    """One row: which image, and what was said about it, still as text.

    At least one of `sha256` (32 bytes) and `path` is given; where both are, the bytes of
    the image decide, not its name. An empty `label` is no answer yet. `queue` is what
    `curator queue` wrote there.
    """

    line: int
    sha256: bytes | None
    path: str | None
    label: str
    reasons: tuple[str, ...] = ()
    note: str = ""
    queue: str = ""

    def shown_image(self) -> str:
        """The image for a message."""
        return f"`{self.sha256.hex() if self.sha256 else printable(self.path or '')}`"

    def unknown_image(self) -> str:
        """That the image is not in the catalogue, for a message."""
        text = f"{self.shown_image()} is not in the catalogue"
        if self.sha256 is None and _WINDOWS_PATH.match(self.path or ""):
            text += ": it begins with a drive of Windows; write it relative to the file's folder"
        return text


class Problems:
    """All that speaks against importing a file: the first in full, the rest as their lines.

    A file of a million rows may be wrong in each of them, so only lines are kept, 8 bytes each.
    """

    def __init__(self) -> None:
        self._first: list[Problem] = []
        self._lines = array("q")
        self.count = 0

    def __len__(self) -> int:
        return self.count

    def mark(self, line: int) -> None:
        """Count a line whose problem is described elsewhere, together with those of other lines."""
        self._lines.append(line)

    def add(self, line: int, text: str) -> None:
        """Count a problem."""
        self._lines.append(line)
        self.count += 1
        # Sorted by line: what is noticed late may belong before what was noticed first.
        if len(self._first) < SHOWN or line <= self._first[-1].line:
            self._first = heapq.nsmallest(SHOWN, [*self._first, Problem(line, text)])

    def line_count(self) -> int:
        """How many lines have a problem."""
        return len(np.unique(np.frombuffer(self._lines, np.int64)))

    def shown(self, unit: str = "line") -> str:
        """The first problems for a message, a line each, and how many more there are."""
        lines = [f"\n  {unit} {problem.line}: {problem.text}" for problem in self._first]
        rest = len(self) - len(lines)
        return "".join(lines) + (f"\n  and {rest} more" if rest else "") + "\n"


@dataclass(frozen=True, slots=True)
class KnownLabels:
    """The rows of a file of known labels.

    `labels` gives the label of each by line, `images` the ids of images that are catalogued.
    """

    answers: list[Answer]
    labels: dict[int, Label]
    images: dict[int, int]


def read_answers(file: Path, *, column: str = "label") -> Iterator[Answer | Problem]:
    """The rows of a CSV with a header, a column `label`, and a column `path` or `sha256`.

    Another `column` may be what is asked for; its cells are the answers' `label`.
    `reasons` (separated by `|`), `note` and `queue` are read where they are there; other
    columns are ignored. Raises DataError if the file cannot be read as such a CSV at all.
    """
    rows = _csv_rows(file, column)
    header = _header(next(rows, None), file, column)
    for line, cells in rows:
        if any(cell.strip() for cell in cells):
            yield _csv_answer(line, cells, header, column)


def read_rows(file: Path) -> Iterator[Answer | Problem]:
    """The rows of a CSV, or the tasks or samples of a JSON file, by the file's suffix."""
    return read_annotations(file) if file.suffix.lower() == ".json" else read_answers(file)


def read_annotations(file: Path) -> Iterator[Answer | Problem]:
    """The tasks of a Label Studio export, or the samples of a FiftyOne dataset.

    Raises DataError if the file is neither.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.", "Name a file.") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{file} is not valid JSON at {where}.", f"Import {_TOOLS}.") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{file} is not JSON in UTF-8.", f"Import {_TOOLS}.") from error
    if isinstance(content, dict) and isinstance(content.get("samples"), list):
        for number, sample in enumerate(content["samples"], start=1):
            yield _json_answer(_sample_answer, number, sample)
        return
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise DataError(f"{file} holds neither a list of tasks nor samples.", f"Import {_TOOLS}.")
    for number, task in enumerate(content, start=1):
        yield _json_answer(_task_answer, number, task)


def with_images(
    catalogue: Catalogue, rows: Iterable[Answer | Problem], file: Path
) -> Iterator[tuple[Answer | Problem, int | None]]:
    """Each row with the id of its image, None where no image is known; so many at a time.

    An answer whose path may be several images comes as a problem.
    """
    finder = finder_for_file(catalogue, file)
    for chunk in chunked(rows, _AT_ONCE):
        answers = [row for row in chunk if isinstance(row, Answer)]
        images = _images_of(catalogue, answers, finder)
        for row in chunk:
            if isinstance(row, Answer) and row.label and (text := _ambiguity(row, finder)):
                yield Problem(row.line, text), None
            else:
                yield row, images.get(row.line)


def read_known_labels(workspace: Workspace, file: Path) -> KnownLabels:
    """Read a CSV file with `path` or `sha256`, and `label`. Raises DataError naming bad rows."""
    classes = workspace.settings.classes
    answers: list[Answer] = []
    labels: dict[int, Label] = {}
    images: dict[int, int] = {}
    unreadable, unknown = Problems(), Problems()
    for row, image_id in with_images(workspace.catalogue, read_answers(file), file):
        if isinstance(row, Problem):
            unreadable.add(row.line, row.text)
        elif row.label:
            answers.append(row)
            label = classes.label_of(row.label)
            if label is None:
                unknown.add(row.line, f"there is no label `{printable(row.label)}`")
            else:
                labels[row.line] = label
            if image_id is not None:
                images[row.line] = image_id
    # Labels that do not exist come first: they make all of the file suspect.
    if problems := unknown or unreadable:
        rows = count(len(problems), "row")
        raise DataError(f"{file}: {rows} not understood:{problems.shown()}", "Correct these rows.")
    return KnownLabels(answers=answers, labels=labels, images=images)


def _images_of(
    catalogue: Catalogue, answers: Sequence[Answer], finder: PathFinder
) -> dict[int, int]:
    """Line → image id for each answer whose image is known."""
    by_digest = find_by_sha256(catalogue, {answer.sha256 for answer in answers if answer.sha256})
    by_path = finder.find(answer.path for answer in answers if answer.path and not answer.sha256)
    image_ids: dict[int, int] = {}
    for answer in answers:
        image_id = by_digest.get(answer.sha256) if answer.sha256 else by_path.get(answer.path or "")
        if image_id is not None:
            image_ids[answer.line] = image_id
    return image_ids


def _ambiguity(answer: Answer, finder: PathFinder) -> str:
    """Why a path does not say which image is meant; empty if it does."""
    paths = () if answer.sha256 else finder.ambiguous.get(answer.path or "", ())
    return several_forms(printable(answer.path or ""), paths) if paths else ""


def printable(text: str) -> str:
    """`text` for a message: bytes that are no characters, and line ends, are shown escaped."""
    escaped = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return escaped.replace("\n", "\\n").replace("\r", "\\r")


def _csv_rows(file: Path, column: str) -> Iterator[tuple[int, list[str]]]:
    """The rows with the number of the line that each begins on."""
    with opened_csv(file) as stream:
        first_line = stream.readline()
        delimiter = _delimiter(first_line, column)
        reader = csv.reader(itertools.chain([first_line], stream), delimiter=delimiter, strict=True)
        begins = 1
        try:
            for cells in reader:
                yield begins, cells
                begins = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{file}, line {reader.line_num}, in the row that begins on line {begins}, is"
                f" not valid CSV ({error}).",
                "Look there for a quote that is not closed, and save it as plain CSV in UTF-8.",
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
    reasons = cell_text(row.get("reasons", "")).split(REASON_SEPARATOR)
    return _answer(
        line,
        digest,
        path,
        label=cell_text(row[column].strip()),
        reasons=tuple(dict.fromkeys(reason.strip() for reason in reasons if reason.strip())),
        note=cell_text(row.get("note", "").strip()),
        queue=cell_text(row.get("queue", "").strip()),
    )


def _json_answer(
    read: Callable[[int, Any], Answer | Problem], number: int, content: Any
) -> Answer | Problem:
    """What `read` makes of a task or sample; a problem if it has another shape than those."""
    try:
        answer = read(number, content)
        if isinstance(answer, Answer):
            # JSON can hold zeros and halves of characters, which not every database takes.
            texts = "".join((answer.label, answer.note, answer.queue, *answer.reasons)).encode()
            if 0 in texts + (answer.path or "").encode("utf-8", "surrogateescape"):
                return Problem(number, "a text in it holds a zero character")
    except (AttributeError, TypeError):
        return Problem(number, f"it is not shaped as in {_TOOLS}")
    except UnicodeEncodeError:
        return Problem(number, "a text in it holds half of a character (a lone surrogate)")
    return answer


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
    texts = labelled[0] if labelled else {}
    return _answer(
        number,
        digest,
        path,
        label=labels[0] if labels else "",
        reasons=tuple(texts.get("reasons", [])),
        note=" ".join(texts.get("note", [])),
        queue=str(data.get("queue") or ""),
    )


def _sample_answer(number: int, sample: Any) -> Answer | Problem:
    """What a person said of a sample: its label, if it is not the one that was exported."""
    label = sample.get("ground_truth") if isinstance(sample, dict) else None
    if not isinstance(sample, dict) or not isinstance(label or {}, dict):
        return Problem(number, "its field `ground_truth` is not a classification")
    text = str((label or {}).get("label") or "")
    tags = [*(sample.get("tags") or ()), *((label or {}).get("tags") or ())]
    if text == sample.get("exported_label") and _CHECKED not in tags:
        text = ""
    return _answer(
        number,
        str(sample.get("sha256") or ""),
        str(sample.get("filepath") or ""),
        label=text,
        queue="fiftyone" if "exported_label" in sample else "",
    )


def _answer(line: int, digest: str, path: str, **fields: Any) -> Answer | Problem:
    """The answer of a row or task, if it names an image."""
    if not digest and not path:
        return Problem(line, "neither `path` nor `sha256` is given")
    if digest and not _SHA256.fullmatch(digest):
        return Problem(line, f"`{printable(digest)}` is not a SHA-256 of 64 hexadecimal digits")
    sha256 = bytes.fromhex(digest) if digest else None
    return Answer(line=line, sha256=sha256, path=path or None, **fields)


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
