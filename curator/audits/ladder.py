"""A plan for an audit: nested sets from strict to loose, and what each must show to pass.

Everything a test needs is fixed here, before any label of the audit is known. The frame is
cut into shells: the first rung's set, and what each further rung adds to it. A fixed number
of images is drawn from every shell. A set of which more labels are wrong than the promise
allows passes its test with at most the chance `risk`, wherever in it the wrong labels are
and whatever the images have to do with each other. A plan whose tests do not keep that
cannot be built. The proof is in docs/certificates.md.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.audits.frame import Frame
from curator.audits.promise import Promise
from curator.errors import DataError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NEVER = -1
"""The critical count of a test that no sample can pass."""

_FORMAT = "curator-audit-1"
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """The first `size` places of the frame, as one set that may be certified.

    `drawn` of its images are audited, in all its shells together. It may hold `allowed` wrong
    labels; at most `critical` wrong ones in its sample prove that it holds no more.
    """

    size: int
    drawn: int
    allowed: int
    critical: int

    @property
    def unseen(self) -> int:
        """Images that stay without a human label: the certificate speaks about these."""
        return self.size - self.drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """How a frame will be audited and tested, from the strictest rung to the loosest.

    Raises ValueError if the tests of its rungs are not the exact ones of `exact_tests`.
    """

    frame_digest: str
    frame_size: int
    promise: Promise
    rungs: tuple[Rung, ...]

    def __post_init__(self) -> None:
        sizes, drawn = self.sizes, np.array([rung.drawn for rung in self.rungs])
        if len(sizes) == 0 or sizes[-1] > self.frame_size:
            raise ValueError("the ladder is empty, or larger than the frame")
        allowed, criticals = exact_tests(sizes, drawn, self.promise)
        for rung, limit, critical in zip(self.rungs, allowed, criticals, strict=True):
            if (rung.allowed, rung.critical) != (limit, critical) or critical == NEVER:
                raise ValueError(f"a rung of {rung.size} images with an inexact test")

    @property
    def sizes(self) -> Ints:
        """Images in the set of each rung, (rungs,)."""
        return np.array([rung.size for rung in self.rungs], dtype=np.int64)

    @property
    def sample(self) -> int:
        """Images to be audited."""
        return self.rungs[-1].drawn

    @property
    def digest(self) -> str:
        """SHA-256 over everything that was fixed beforehand."""
        text = json.dumps(describe(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def shells(self) -> list[tuple[int, int, int]]:
        """First place, end and drawn images of each shell."""
        steps = [(0, 0), *((rung.size, rung.drawn) for rung in self.rungs)]
        return [
            (start, end, until - since)
            for (start, since), (end, until) in itertools.pairwise(steps)
        ]


def lay_ladder(
    frame: Frame, promise: Promise, sizes: Sequence[int], drawn: Sequence[int]
) -> AuditPlan | None:
    """The plan that tests these prefixes with these sample sizes, both rising, (rungs,).

    Rungs that no sample could pass are left out, and their shells join the next. None if
    no rung is left. Raises ValueError unless every shell has an image to draw.
    """
    kept_sizes, kept_drawn = np.array(sizes, dtype=np.int64), np.array(drawn, dtype=np.int64)
    while len(kept_sizes):
        allowed, criticals = exact_tests(kept_sizes, kept_drawn, promise)
        possible = criticals != NEVER
        if possible.all():
            rows = zip(kept_sizes, kept_drawn, allowed, criticals, strict=True)
            return AuditPlan(
                frame_digest=frame.digest,
                frame_size=len(frame),
                promise=promise,
                rungs=tuple(
                    Rung(size=int(size), drawn=int(count), allowed=int(limit), critical=int(most))
                    for size, count, limit, most in rows
                ),
            )
        kept_sizes, kept_drawn = kept_sizes[possible], kept_drawn[possible]
    return None


def exact_tests(sizes: Ints, drawn: Ints, promise: Promise) -> tuple[Ints, Ints]:
    """What each rung may hold and what its sample may show, both (rungs,).

    The first rung is one shell and has an exact tail, the others a bound over their shells.
    Allowed is what the promise allows among the images that stay unseen; that wrong ones are
    found and leave is not counted on. Raises ValueError unless sizes and samples rise together.
    """
    shell_sizes, shell_drawn = np.diff(sizes, prepend=0), np.diff(drawn, prepend=0)
    if (shell_drawn < 1).any() or (shell_sizes < shell_drawn).any():
        raise ValueError("every shell needs at least one image to draw, and room for it")
    rates = np.minimum.accumulate(shell_drawn / shell_sizes)
    allowed = allowed_wrong(sizes - drawn, promise.max_error)
    criticals = critical_counts(allowed, rates, drawn, promise.risk)
    if len(sizes):
        criticals[0] = critical_count(int(sizes[0]), int(drawn[0]), int(allowed[0]), promise.risk)
    return allowed, criticals


def allowed_wrong(unseen: Ints, max_error: float) -> Ints:
    """The most wrong labels that the promise allows among so many images, (sets,)."""
    allowed: Ints = np.floor(max_error * unseen + _ROUNDING).astype(np.int64)
    return allowed


def critical_count(size: int, drawn: int, allowed: int, risk: float) -> int:
    """The most wrong labels in a sample of `drawn` from one set that exclude more than `allowed`.

    For a single shell the count is hypergeometric, and the tail exact.
    """
    from scipy.stats import hypergeom

    highest = (allowed + 1) * drawn // size
    counts = np.arange(min(highest, drawn) + 1)
    within = hypergeom.pmf(counts, size, allowed + 1, drawn).cumsum() <= risk * (1 - _ROUNDING)
    return int(within.sum()) - 1


def critical_counts(allowed: Ints, rates: Floats, drawn: Ints, risk: float) -> Ints:
    """The most wrong labels in a sample that still exclude more than `allowed`, (sets,).

    Each image is drawn with a chance of at least `rates`, `drawn` of them in all. With
    `allowed + 1` wrong labels the wrong ones in the sample are a sum of independent
    trials: at most one for each wrong label, and at most one for each drawn image
    (Vatutin and Mikhailov, 1982). Their lower tail is bounded by that of a binomial with the
    same mean up to one below the mean (Hoeffding, 1956, Annals of Mathematical Statistics 27,
    theorem 4). Both ways of counting the trials hold; the better is taken.
    """
    from scipy.stats import binom

    wrong = allowed + 1
    mean = wrong * rates
    by_label = _last_within(binom, wrong, rates, risk)
    by_draw = _last_within(binom, drawn, np.minimum(mean / drawn, 1.0), risk)
    highest = np.floor(mean - 1.0 + _ROUNDING)
    criticals: Ints = np.maximum(np.minimum(np.maximum(by_label, by_draw), highest), NEVER)
    return criticals.astype(np.int64)


def describe(plan: AuditPlan) -> dict[str, Any]:
    """The plan as plain values for the catalogue and the certificate."""
    return {
        "format": _FORMAT,
        "frame_digest": plan.frame_digest,
        "frame_size": plan.frame_size,
        "promise": asdict(plan.promise),
        "rungs": [asdict(rung) for rung in plan.rungs],
    }


def restore(design: dict[str, Any], frame: Frame) -> AuditPlan:
    """The plan that `describe` gave, for the same frame.

    Raises DataError if the frame is another one, or if the stored tests are not exact.
    """
    if design.get("format") != _FORMAT or design.get("frame_digest") != frame.digest:
        raise DataError(
            "This audit was planned for another frame: images, labels or their order changed.",
            "Plan a new audit with `curator audit`; the old one cannot certify anything.",
        )
    try:
        return AuditPlan(
            frame_digest=frame.digest,
            frame_size=len(frame),
            promise=Promise(**design["promise"]),
            rungs=tuple(Rung(**rung) for rung in design["rungs"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"The stored plan of this audit is damaged: {error}.",
            "Restore the workspace from a backup, or plan a new audit with `curator audit`.",
        ) from error


def _last_within(binom: Any, trials: Ints, chance: Floats, risk: float) -> Ints:
    """The largest count with a lower tail of at most `risk`; `NEVER` if there is none."""
    last = binom.ppf(risk, trials, chance)
    last = np.where(binom.cdf(last, trials, chance) > risk, last - 1, last)
    result: Ints = last.astype(np.int64)
    return result
