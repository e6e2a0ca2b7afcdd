"""Draws an audit: which images, in which order, with which chances.

Within a stratum every set of images of the planned size is equally likely, and the order in
which they are shown mixes all strata. Chance comes from the digest of the plan (and so of the
frame), the seed and the attempt: the same audit always draws the same images, and a plan that
was altered after its draw draws others.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from curator.audits.frame import Frame, check_same_frame
from curator.audits.plan import AuditPlan, Design
from curator.base.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditDraw:
    """The audited images in the order in which they are shown; all arrays are (sample,).

    `ranks` are ranks in the frame, `strata` the number of the stratum, and
    `inclusion_probability` the chance that the image had to be drawn.
    """

    plan_digest: str
    ranks: IntArray
    image_ids: IntArray
    strata: IntArray
    inclusion_probability: FloatArray


def draw_audit(frame: Frame, plan: AuditPlan, *, seed: int, attempt: int) -> AuditDraw:
    """Draw the audit of a plan. Raises DataError if the plan is for another frame."""
    check_same_frame(frame, plan.frame_digest)
    source = hashlib.sha256(f"curator-draw-1 {plan.digest} {seed} {attempt}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(source, "big"))
    ranks, strata, chances = [], [], []
    for number, (start, end, drawn) in enumerate(plan.strata):
        ranks.append(start + generator.choice(end - start, size=drawn, replace=False))
        strata.append(np.full(drawn, number, dtype=np.int64))
        chances.append(np.full(drawn, drawn / (end - start)))
    if plan.design is Design.SIMPLE_RANDOM:
        # One stratum comes in random order. To shuffle it again would draw stored audits anew.
        order = np.arange(plan.sample)
    else:
        order = generator.permutation(plan.sample)
    shown = np.concatenate(ranks)[order].astype(np.int64)
    return AuditDraw(
        plan_digest=plan.digest,
        ranks=shown,
        image_ids=frame.image_ids[shown],
        strata=np.concatenate(strata)[order],
        inclusion_probability=np.concatenate(chances)[order],
    )
