"""Scoring the whole pool and staging what follows from it, a chunk at a time.

Scores go to the round's array file, from which the catalogue takes them when the rounds have
ended; decisions are staged, and the commit makes them true.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from curator.base.progress import Progress
from curator.base.vocabulary import CurrentLabel, code_of
from curator.catalogue import rounds
from curator.catalogue.pool import PoolChunk, pool_chunks
from curator.classifiers.heads.frozen import PoolSlice
from curator.rounds.labels import held, is_human, pool_slice
from curator.rounds.promotion import HeldBack, PoolLabel, RoundAction, ThresholdPolicy, decide
from curator.settings.sections import PromotionSettings
from curator.storage.scores import SCORE_RECORD, ScoreWriter
from curator.workspace import Workspace

Floats = NDArray[np.float64]

CHUNK_IMAGES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundCounts:
    """What the decisions of a round add up to."""

    promoted_positive: int = 0
    promoted_negative: int = 0
    revoked: int = 0
    standing_promoted: int = 0
    without_human: int = 0
    expected_errors: float = 0.0
    held_back: HeldBack = field(default_factory=HeldBack)

    def plus(self, other: RoundCounts) -> RoundCounts:
        """The sum of two tallies."""
        return RoundCounts(
            promoted_positive=self.promoted_positive + other.promoted_positive,
            promoted_negative=self.promoted_negative + other.promoted_negative,
            revoked=self.revoked + other.revoked,
            standing_promoted=self.standing_promoted + other.standing_promoted,
            without_human=self.without_human + other.without_human,
            expected_errors=self.expected_errors + other.expected_errors,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The usable images that have features, as they were when a round began.

    Read once, about 50 bytes an image; images that come later wait for the next round.
    """

    chunks: tuple[PoolChunk, ...]

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(len(chunk.image_ids) for chunk in self.chunks)

    def by_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All feature rows, rising, and the ids of their images."""
        nothing = np.empty(0, dtype=np.int64)
        rows = np.concatenate([nothing, *(chunk.feature_rows for chunk in self.chunks)])
        image_ids = np.concatenate([nothing, *(chunk.image_ids for chunk in self.chunks)])
        order = np.argsort(rows)
        return rows[order], image_ids[order]

    def slices(self, folds: int, seed: int) -> Iterator[PoolSlice]:
        """What heads may know of the images, run by run."""
        for chunk in self.chunks:
            yield pool_slice(chunk, folds, seed)


def read_pool(workspace: Workspace, feature_set_id: int) -> Pool:
    """The pool of now."""
    return Pool(chunks=tuple(pool_chunks(workspace.catalogue, feature_set_id, size=CHUNK_IMAGES)))


class Score(Protocol):
    """A classifier of either kind, as the pool sees it."""

    def __call__(self, part: PoolSlice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """P(positive) of each image, calibrated and raw, both (rows,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredChunk:
    """Scored images; all arrays (rows,), `actions` may still be held back."""

    chunk: PoolChunk
    part: PoolSlice
    calibrated: Floats
    raw: Floats
    deciding: Floats
    actions: NDArray[np.int8]


class Gates(Protocol):
    """What may hold promotions back."""

    def hold_back(self, runs: Sequence[ScoredChunk]) -> HeldBack:
        """Turn promotions of these runs into no action, in place; returns how many."""

    def distances(self, rows: NDArray[np.int64]) -> Floats | None:
        """How far images with these feature rows lie from the nearest labelled one."""


def score_pool(
    workspace: Workspace,
    pool: Pool,
    score: Score,
    token: str,
    progress: Progress,
    *,
    folds: int,
    gates: Gates | None = None,
) -> tuple[RoundCounts, str]:
    """Score, decide and stage the whole pool; returns the tally and the score file's digest.

    Scores are held until all are there, since some gates compare images with each other.
    """
    settings, tally = workspace.settings, RoundCounts()
    runs = []
    with progress.stage("score", pool.images) as stage:
        for chunk in pool.chunks:
            part = pool_slice(chunk, folds, settings.runtime.seed)
            runs.append(_decided(settings.promotion, chunk, part, score(part)))
            stage.advance(len(chunk.image_ids))
    held_back = HeldBack() if gates is None else gates.hold_back(runs)
    with (
        progress.stage("stage", pool.images) as stage,
        ScoreWriter(workspace.folder("scores")) as writer,
    ):
        for run in runs:
            chunk = run.chunk
            _stage_decisions(workspace, token, chunk, run.deciding, run.actions)
            distances = None if gates is None else gates.distances(run.part.rows)
            writer.append(_records(run, distances))
            tally = tally.plus(_count(chunk, held(chunk), run.actions, run.deciding))
            stage.advance(len(chunk.image_ids))
        return replace(tally, held_back=held_back), writer.finish()


def _decided(
    bars: PromotionSettings, chunk: PoolChunk, part: PoolSlice, scores: tuple[Floats, Floats]
) -> ScoredChunk:
    calibrated, raw = scores
    deciding = raw if bars.score == "raw" else calibrated
    return ScoredChunk(
        chunk=chunk,
        part=part,
        calibrated=calibrated,
        raw=raw,
        deciding=deciding,
        actions=decide(deciding, held(chunk), policy_of(bars)),
    )


def policy_of(bars: PromotionSettings) -> ThresholdPolicy:
    """The bars of the settings, as the rule of promotion takes them."""
    return ThresholdPolicy(
        promote_above=bars.promote_above,
        promote_below=bars.promote_below,
        revoke_below=bars.revoke_below,
        revoke_above=bars.revoke_above,
    )


def _stage_decisions(
    workspace: Workspace,
    token: str,
    chunk: PoolChunk,
    probability: NDArray[np.float64],
    actions: NDArray[np.int8],
) -> None:
    acted = actions != RoundAction.KEEP
    if not acted.any():
        return
    bars, did = workspace.settings.promotion, actions[acted]
    was_positive = chunk.standing[acted] == code_of(CurrentLabel.POSITIVE)
    revoked = did == RoundAction.REVOKE
    positive = np.where(revoked, was_positive, did == RoundAction.PROMOTE_POSITIVE)
    gained = np.where(positive, bars.promote_above, bars.promote_below)
    lost = np.where(positive, bars.revoke_below, bars.revoke_above)
    rounds.stage_decisions(
        workspace.catalogue,
        token,
        chunk.image_ids[acted],
        promote=~revoked,
        positive=positive,
        probabilities=probability[acted],
        thresholds=np.where(revoked, lost, gained),
    )


def _records(run: ScoredChunk, distances: Floats | None) -> NDArray[Any]:
    records = np.empty(len(run.actions), dtype=SCORE_RECORD)
    records["image_id"], records["fold"] = run.chunk.image_ids, run.part.folds
    records["probability"], records["raw"] = run.calibrated, run.raw
    records["action"] = run.actions
    records["distance"] = np.nan if distances is None else distances
    return records


def _count(
    chunk: PoolChunk,
    found: NDArray[np.int8],
    actions: NDArray[np.int8],
    probability: NDArray[np.float64],
) -> RoundCounts:
    gained_positive = actions == RoundAction.PROMOTE_POSITIVE
    gained_negative = actions == RoundAction.PROMOTE_NEGATIVE
    stays = actions == RoundAction.KEEP
    positive = gained_positive | (stays & (found == PoolLabel.PROMOTED_POSITIVE))
    negative = gained_negative | (stays & (found == PoolLabel.PROMOTED_NEGATIVE))
    human = is_human(chunk.standing, chunk.origin)
    return RoundCounts(
        promoted_positive=int(gained_positive.sum()),
        promoted_negative=int(gained_negative.sum()),
        revoked=int((actions == RoundAction.REVOKE).sum()),
        standing_promoted=int(positive.sum() + negative.sum()),
        without_human=int((~human).sum()),
        expected_errors=float((1 - probability[positive]).sum() + probability[negative].sum()),
    )
