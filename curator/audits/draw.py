"""Draws an audit: which images, in which order, with which chances.

Within a shell every set of images of the planned size is equally likely, and the order in
which they are shown mixes all shells. Chance comes from the digest of the plan (and so of the
frame), the seed and the attempt: the same audit always draws the same images, and a plan that
was altered after its draw draws others.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.audits.frame import Frame, check_same_frame
from curator.audits.ladder import AuditPlan

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditDraw:
    """The audited images in the order in which they are shown; all arrays are (sample,).

    `places` are places in the frame, `shells` the number of the shell, and
    `inclusion_probability` the chance that the image had to be drawn.
    """

    plan_digest: str
    places: Ints
    image_ids: Ints
    shells: Ints
    inclusion_probability: Floats


def draw_audit(frame: Frame, plan: AuditPlan, *, seed: int, attempt: int) -> AuditDraw:
    """Draw the audit of a plan. Raises DataError if the plan is for another frame."""
    check_same_frame(frame, plan.frame_digest)
    generator = np.random.default_rng(entropy(plan.digest, seed, attempt))
    places, shells, chances = [], [], []
    for number, (start, end, drawn) in enumerate(plan.shells):
        places.append(start + generator.choice(end - start, size=drawn, replace=False))
        shells.append(np.full(drawn, number, dtype=np.int64))
        chances.append(np.full(drawn, drawn / (end - start)))
    order = generator.permutation(plan.sample)
    shown = np.concatenate(places)[order].astype(np.int64)
    return AuditDraw(
        plan_digest=plan.digest,
        places=shown,
        image_ids=frame.image_ids[shown],
        shells=np.concatenate(shells)[order],
        inclusion_probability=np.concatenate(chances)[order],
    )


def entropy(digest: str, seed: int, attempt: int) -> int:
    """The number that all chance of one audit comes from."""
    text = f"curator-draw-1 {digest} {seed} {attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
