"""A pool whose truth is known, scored and promoted without pixels, and a person who answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.audits.audit import AuditReport, audit, begin
from curator.base.values import Decision
from curator.base.vocabulary import Label, Method, Origin
from curator.catalogue import audit_answers
from curator.catalogue.labels import record_decisions
from curator.maintenance.verify import verify
from curator.settings.sections import Settings
from curator.workspace import Workspace
from tests.support.filled import decide, fill, promote

Person = Callable[[int], Label | None]
"""What somebody says to an image; None is no answer."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A workspace in which every image has a score and a true class."""

    workspace: Workspace
    truth: Mapping[int, bool]
    scores: Mapping[int, float]

    def says(self, image_id: int) -> Label:
        """The truth."""
        return Label.POSITIVE if self.truth[image_id] else Label.NEGATIVE

    def wrong_share(self, image_ids: NDArray[np.int64], positive: NDArray[np.bool_]) -> float:
        """Share of these labels that are not true."""
        true = np.array([self.truth[int(one)] for one in image_ids])
        return float((true != positive).mean())


def with_settings(workspace: Workspace, **sections: Mapping[str, object]) -> Workspace:
    """The same workspace under other settings."""
    content = workspace.settings.model_dump()
    for section, values in sections.items():
        content[section] |= values
    settings = Settings.model_validate(content)
    return Workspace(workspace.root, settings, workspace.catalogue)


def make_pool(
    workspace: Workspace,
    folder: Path,
    *,
    size: int = 3_000,
    error: float = 0.002,
    hard: float = 0.1,
    positives: float = 0.5,
    seeds: int = 60,
    seed: int = 0,
    policy: str = "certified",
    **promotion: object,
) -> Pool:
    """Images that a round has scored: `error` of the sure ones are wrong, half of the hard ones.

    The first `seeds` have seed labels. Wrong ones lie at random places among the sure ones.
    """
    workspace = with_settings(workspace, promotion={"policy": policy, **promotion})
    ids = list(fill(workspace, folder, [f"{number:05d}.png" for number in range(size)]).values())
    generator = np.random.default_rng(seed)
    positive = generator.random(size) < positives
    unsure = generator.random(size) < hard
    wrong = generator.random(size) < np.where(unsure, 0.4, error)
    distance = np.where(
        unsure, generator.uniform(0.02, 0.3, size), generator.uniform(0.495, 0.5, size)
    )
    leaning = positive ^ wrong
    probability = np.where(leaning, 0.5 + distance, 0.5 - distance)
    truth = dict(zip(ids, positive.tolist(), strict=True))
    scores = dict(zip(ids, probability.tolist(), strict=True))
    for label, chosen in ((Label.POSITIVE, True), (Label.NEGATIVE, False)):
        decide(workspace, [one for one in ids[:seeds] if truth[one] is chosen], label)
    promote(workspace, scores)
    return Pool(workspace, truth, scores)


def problems(workspace: Workspace) -> list[str]:
    """What `verify` finds, but for the chosen salt that makes an audit of a test repeat."""
    texts = [finding.text for finding in verify(workspace).findings]
    return [text for text in texts if "the salt of its draw was chosen" not in text]


def opened(workspace: Workspace, *, salt: str = "a salt", **wanted: Any) -> AuditReport:
    """Plan an audit and open it, with chance that repeats; what planning it told."""
    report = audit(workspace, **wanted)
    record = begin(workspace, salt=salt)
    return replace(report, record=record)


def answer(workspace: Workspace, person: Person, image_ids: Sequence[int] | None = None) -> int:
    """Answer these images of the open audit, or all that it asks for to its end; how many."""
    if image_ids is not None:
        return _answered(workspace, person, image_ids)
    answers = 0
    while waiting := audit_answers.waiting_ids(workspace.catalogue, begin(workspace), size=None):
        recorded = _answered(workspace, person, waiting)
        answers += recorded
        if recorded < len(waiting):
            break
    return answers


def _answered(workspace: Workspace, person: Person, image_ids: Sequence[int]) -> int:
    decisions = [
        Decision(image_id=one, label=label, origin=Origin.AUDIT, method=Method.BLIND)
        for one in image_ids
        if (label := person(one)) is not None
    ]
    record_decisions(workspace.catalogue, decisions, actor="auditor")
    return len(decisions)
