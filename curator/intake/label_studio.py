"""Reading what people said in Label Studio: its JSON export, full or minimal.

Every task becomes an answer, an unanswered row or a problem with its number, as the rows
of a CSV do. Skipped tasks are unanswered; people who disagree on one task are a problem
to be settled there, not here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from curator.base.values import Problem
from curator.errors import DataError
from curator.intake.answers import Answer, AnswerFile

_WHAT = "an export of Label Studio (JSON or JSON-MIN)"


def read_annotations(file: Path) -> AnswerFile:
    """Read an export. Raises DataError if the file is no such thing at all."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.", "Name a file.") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{file} is not JSON: {error}.", f"Import {_WHAT}.") from error
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise DataError(f"{file} is not a list of tasks.", f"Import {_WHAT}.")
    answers: list[Answer] = []
    problems: list[Problem] = []
    unanswered = 0
    for number, task in enumerate(content, start=1):
        found = _answer(number, task)
        if isinstance(found, Problem):
            problems.append(found)
        elif found.label:
            answers.append(found)
        else:
            unanswered += 1
    return AnswerFile(answers=answers, unanswered=unanswered, problems=problems, unit="task")


def _answer(number: int, task: Mapping[str, Any]) -> Answer | Problem:
    data = task.get("data", task)
    if not isinstance(data, dict):
        return Problem(number, "`data` is missing")
    said = _full(task["annotations"]) if "annotations" in task else [_minimal(task)]
    if len({label for label, _, _ in said}) > 1:
        names = " and ".join(sorted({label for label, _, _ in said}))
        return Problem(number, f"people disagree: {names}; settle it in Label Studio")
    label, reasons, note = said[0] if said else ("", (), "")
    digest, path = str(data.get("sha256") or ""), str(data.get("path") or "")
    try:
        sha256 = bytes.fromhex(digest) if digest else None
    except ValueError:
        return Problem(number, f"`{digest}` is not a SHA-256")
    if sha256 is None and not path:
        return Problem(number, "the task has neither `path` nor `sha256` in its data")
    return Answer(
        line=number, sha256=sha256, path=path or None, label=label, reasons=reasons, note=note
    )


Said = tuple[str, tuple[str, ...], str]


def _full(annotations: Any) -> list[Said]:
    """What each annotation that was not cancelled says."""
    return [
        said
        for annotation in annotations
        if not annotation.get("was_cancelled")
        and (said := _one_annotation(annotation.get("result", [])))[0]
    ]


def _one_annotation(result: Any) -> Said:
    found: dict[str, list[str]] = {}
    for part in result:
        value = part.get("value", {})
        found.setdefault(part.get("from_name", ""), []).extend(
            _texts(value.get("choices")) or _texts(value.get("text"))
        )
    labels, notes = found.get("label", []), found.get("note", [])
    return labels[0] if labels else "", tuple(found.get("reasons", [])), " ".join(notes)


def _minimal(task: Mapping[str, Any]) -> Said:
    labels, notes = list(_texts(task.get("label"))), list(_texts(task.get("note")))
    return labels[0] if labels else "", tuple(_texts(task.get("reasons"))), " ".join(notes)


def _texts(value: Any) -> list[str]:
    """A text, a list of texts, or `{"choices": [...]}`, as a list."""
    return list(_flattened(value))


def _flattened(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = value.get("choices")
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, list):
        yield from (str(one) for one in value)
