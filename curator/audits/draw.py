"""Draws an audit: which images, in which order, with which chances.

Within a stratum every set of images of the planned size is equally likely. Chance comes from the
digest of the plan (and so of the frame) and a salt: the same plan with the same salt always draws
the same images, and a plan that was altered after its draw draws others. The salt is secret
until the audit is opened, so nobody can choose among plans by what they would draw.

Strata are asked from the inside out, each in random order; a sequential test asks one set in one
random order. A stratum whose verdict was not
needed is drawn, and never shown.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from curator.audits.frame import Frame, check_same_frame, frame_of
from curator.audits.plan import AuditPlan, Design, restore
from curator.base.arrays import FloatArray, IntArray
from curator.catalogue.audits import AuditRecord
from curator.catalogue.frames import FrameRows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditDraw:
    """The audited images in the order in which they are shown; all arrays are (drawn,).

    `ranks` are ranks in the frame, `strata` the number of the stratum, and
    `inclusion_probability` the chance that the image had to be drawn. Images of the rescue
    come last; their stratum has the number of the plan's steps, and their chance is the one that
    they had once the others were drawn.
    """

    plan_digest: str
    ranks: IntArray
    image_ids: IntArray
    strata: IntArray
    inclusion_probability: FloatArray


def draw_audit(frame: Frame, plan: AuditPlan, salt: str) -> AuditDraw:
    """Draw the audit of a plan. Raises DataError if the plan is for another frame."""
    return _draw(frame, plan, f"curator-draw-2 {plan.digest} {salt}", mixed=False)


def draw_from_seed(frame: Frame, plan: AuditPlan, *, seed: int, attempt: int) -> AuditDraw:
    """The draw of an audit from before there were salts, whose strata were shown mixed."""
    mixed = plan.design is not Design.SIMPLE_RANDOM
    return _draw(frame, plan, f"curator-draw-1 {plan.digest} {seed} {attempt}", mixed=mixed)


def commitment(plan_digest: str, salt: str) -> str:
    """SHA-256 that names an audit of an older version in the ledger.

    Newer ones have the digest of `evidence.opening_commitment`, which covers the files, too.
    """
    return hashlib.sha256(f"curator-commitment-1 {plan_digest} {salt}".encode()).hexdigest()


def _draw(frame: Frame, plan: AuditPlan, source: str, *, mixed: bool) -> AuditDraw:
    check_same_frame(frame, plan.frame_digest)
    digest = hashlib.sha256(source.encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest, "big"))
    ranks, strata, chances = [], [], []
    if plan.design is Design.SEQUENTIAL:
        # One random order of one set: a stratum is what one step asks beyond the step before it.
        size = int(plan.sizes[0])
        ranks.append(generator.choice(size, size=plan.sample, replace=False))
        parts = [drawn for _, _, drawn in plan.strata]
        strata.append(np.repeat(np.arange(len(parts)), parts))
        chances.append(np.full(plan.sample, plan.sample / size))
    for number, (start, end, drawn) in enumerate([] if ranks else plan.strata):
        ranks.append(start + generator.choice(end - start, size=drawn, replace=False))
        strata.append(np.full(drawn, number, dtype=np.int64))
        chances.append(np.full(drawn, drawn / (end - start)))
    if plan.rescue is not None:
        # From what the others left of the inner part, so that its test is exact given theirs.
        drawn_ranks = np.concatenate(ranks)
        rest = np.setdiff1d(np.arange(plan.rescue.size), drawn_ranks, assume_unique=True)
        ranks.append(generator.choice(rest, size=plan.rescue.drawn, replace=False))
        strata.append(np.full(plan.rescue.drawn, len(plan.steps), dtype=np.int64))
        chances.append(np.full(plan.rescue.drawn, plan.rescue.drawn / len(rest)))
    shown = np.concatenate(ranks).astype(np.int64)
    order = generator.permutation(len(shown)) if mixed else np.arange(len(shown))
    return AuditDraw(
        plan_digest=plan.digest,
        ranks=shown[order],
        image_ids=frame.image_ids[shown[order]],
        strata=np.concatenate(strata)[order],
        inclusion_probability=np.concatenate(chances)[order],
    )


def drawn_again(record: AuditRecord, rows: FrameRows) -> tuple[Frame, AuditPlan, AuditDraw]:
    """Frame, plan and draw of a stored audit, each derived again from what is stored.

    Raises DataError if images, labels or their order are not those that were frozen, or if the
    plan is damaged.
    """
    frame = frame_of(rows)
    plan = restore(record.plan, frame, record.kind)
    if record.salt is not None:
        return frame, plan, draw_audit(frame, plan, record.salt)
    return frame, plan, draw_from_seed(frame, plan, seed=record.seed, attempt=record.attempt)
