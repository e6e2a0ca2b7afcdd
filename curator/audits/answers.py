"""Answers to the open audit: labels from a file, and what answers count as.

An image outside the audit was not drawn at random, so its label is no answer. An answer that
contradicts an earlier one is refused unless it is to replace it, and in any case once a verdict has
used that; a repeated one is ignored, so that an interrupted import can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from curator.audits.test import AuditOutcome
from curator.base.arrays import CodeArray
from curator.base.values import Decision, Problem
from curator.base.vocabulary import Label
from curator.catalogue import audit_answers, audits
from curator.catalogue.audit_answers import AuditAnswers
from curator.catalogue.engine import Catalogue
from curator.errors import DataError
from curator.settings.sections import ClassesSettings

_OUTCOMES = {
    Label.NEGATIVE: AuditOutcome.NEGATIVE,
    Label.POSITIVE: AuditOutcome.POSITIVE,
    Label.UNSURE: AuditOutcome.UNSURE,
}


def answers_to_audit(
    catalogue: Catalogue,
    classes: ClassesSettings,
    decisions: Iterable[tuple[int, Decision]],
    *,
    replace: bool,
) -> tuple[list[tuple[int, Decision]], list[Problem]]:
    """The decisions, each with its line, that are new to the open audit, and what is wrong.

    Raises DataError if no audit is open.
    """
    record = audits.open_audit(catalogue)
    if record is None:
        raise DataError(
            "There is no open audit that these labels could answer.",
            "Open one with `curator audit`; labels of another kind have --origin seed, review or"
            " calibration.",
        )
    answers = audit_answers.answers_of(catalogue, record)
    labels = {
        image_id: label
        for image_id, label, requested in zip(
            answers.image_ids.tolist(), answers.labels, answers.requested, strict=True
        )
        if requested
    }
    locked = set(answers.image_ids[answers.locked].tolist())
    name_of = classes.name_of
    new: list[tuple[int, Decision]] = []
    problems: list[Problem] = []
    for line, decision in decisions:
        if decision.image_id not in labels:
            text = f"audit {record.audit_id} does not ask for this image"
            problems.append(Problem(line, text))
            continue
        earlier = labels[decision.image_id]
        if decision.image_id in locked and earlier is not decision.label:
            text = f"the answer of audit {record.audit_id} about it was used and is locked"
            problems.append(Problem(line, text))
        elif earlier is None or (replace and earlier is not decision.label):
            new.append((line, decision))
        elif earlier is not decision.label:
            text = (
                f"this image is {name_of(decision.label)} here, but audit {record.audit_id} has the"
                f" answer {name_of(earlier)} already; --replace puts this one in its place"
            )
            problems.append(Problem(line, text))
    return new, problems


def outcomes_of(answers: AuditAnswers) -> CodeArray:
    """What became of each drawn image, (drawn,); nobody's answer is an answer, too."""
    outcomes = [
        _OUTCOMES[label]
        if label is not None
        else AuditOutcome.UNSHOWABLE
        if unshowable
        else AuditOutcome.SKIPPED
        if skipped
        else AuditOutcome.OPEN
        for label, skipped, unshowable in zip(
            answers.labels, answers.skipped, answers.unshowable, strict=True
        )
    ]
    return np.array(outcomes, dtype=np.int8)
