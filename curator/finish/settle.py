"""The likelier class for what nobody decided, as a round of its own, and how to take it back.

Such a round trains nothing: it keeps the model and the scores of the round before it, and its
outcome records the policy under `finish`. `rollback` undoes it like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from curator.audits.planned import decisive_probability
from curator.base.arrays import BoolArray, FloatArray
from curator.catalogue import frames, queues, rounds
from curator.catalogue.audits import refuse_open_audit
from curator.catalogue.engine import Catalogue
from curator.catalogue.frames import ScoredPool
from curator.catalogue.leases import lease
from curator.catalogue.pool import pool_size
from curator.catalogue.rounds import NewRound, RoundRecord
from curator.rounds.commit import rollback
from curator.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LikelierLabels:
    """What the machine would call each image of the pool; arrays are (images with a score,).

    `free` images have no label of a person and may get one of the machine; `images` counts all
    usable ones, `unscored` those that no round has scored yet.
    """

    pool: ScoredPool
    probability: FloatArray
    free: BoolArray
    images: int

    @property
    def positive(self) -> BoolArray:
        positive: BoolArray = self.probability > 0.5
        return positive

    @property
    def unscored(self) -> int:
        return self.images - len(self.pool.image_ids)

    @property
    def expected_wrong(self) -> float:
        """How many of the machine's labels the scores expect to be wrong."""
        probability = self.probability[self.free]
        return float(np.minimum(probability, 1.0 - probability).sum())


def likelier_labels(workspace: Workspace) -> LikelierLabels:
    """The likelier class of every image by the current scores."""
    pool = frames.scored_pool(workspace.catalogue)
    return LikelierLabels(
        pool=pool,
        probability=decisive_probability(workspace.settings, pool),
        free=~pool.human & ~pool.blocked,
        images=pool_size(workspace.catalogue),
    )


def settled_round(catalogue: Catalogue) -> RoundRecord | None:
    """The current round if it gave undecided images their likelier class, else None."""
    head = rounds.head(catalogue)
    record = None if head is None else rounds.get_round(catalogue, head)
    return record if record is not None and record.likelier is not None else None


def settle(workspace: Workspace, *, error: float) -> RoundRecord:
    """Give every image without a human label its likelier class, in one transaction.

    Images that a gate holds back get it, too; those that `rollback --block` excluded do not.
    `error` is the share of wrong labels in the pool that the user accepts.
    """
    catalogue = workspace.catalogue
    with lease(catalogue, "round"):
        refuse_open_audit(catalogue, "labels for undecided images")
        last_event = queues.newest_event(catalogue)
        labels = likelier_labels(workspace)
        pool, positive = labels.pool, labels.positive
        assert pool.round_id is not None  # only a scored pool is settled
        parent = rounds.get_round(catalogue, pool.round_id)
        changed = labels.free & ~(pool.promoted & (pool.positive == positive))
        started_at, token = datetime.now(UTC), rounds.begin_staging(catalogue)
        try:
            rounds.stage_decisions(
                catalogue,
                token,
                pool.image_ids[changed],
                promote=np.ones(int(changed.sum()), dtype=np.bool_),
                positive=positive[changed],
                probabilities=labels.probability[changed],
            )
            likelier = {
                "error": error,
                "expected_wrong": labels.expected_wrong,
                "images": labels.images,
                "newest_event": last_event,
            }
            new = NewRound(
                parent_id=parent.round_id,
                seed=parent.seed,
                settings=workspace.settings.model_dump(mode="json"),
                outcome={
                    **parent.outcome,
                    "expected_errors": labels.expected_wrong,
                    "likelier": likelier,
                },
                started_at=started_at,
                feature_set_id=parent.feature_set_id,
                model_digest=parent.model_digest,
                score_digest=parent.score_digest,
            )
            return rounds.commit_round(catalogue, token, new)
        finally:
            rounds.clean_scores(catalogue)


def take_back(workspace: Workspace, settled: RoundRecord) -> None:
    """Return to the round before; what people said since stays."""
    assert settled.parent_id is not None
    rollback(workspace, to=settled.parent_id, block=False, actor=workspace.actor)
