"""The error of a round's scores: what labels measured, and whether that speaks for the pool.

Only a random sample measures the error of the pool. Until there is one, the error on seeds is an
error on seeds, and the pool's is unknown: seeds may be of another kind than the pool. Under a
warning that a class may have been learned by its source, no label shows the pool's error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from curator.base.vocabulary import CurrentLabel, code_of
from curator.catalogue.pool import HumanLabels
from curator.statistics.metrics import ErrorEstimate, error_from_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolError:
    """The out-of-fold error on `labels`, and what is known of the pool's.

    `on_pool`: the labels are a random sample of the pool, else they are seeds. `random_labels` is
    how many labels of such a sample there are so far; `undecided` counts its images that people
    called unsure, labelled both ways, or passed over, and `with_undecided` is the error if all of
    them are wrong. `shortcut`: a class may have been learned by its source.
    """

    labels: ErrorEstimate
    on_pool: bool
    random_labels: int = 0
    undecided: int = 0
    with_undecided: ErrorEstimate | None = None
    shortcut: bool = False

    @property
    def pool(self) -> ErrorEstimate | None:
        """The error of the pool; None while it is unknown."""
        return self.labels if self.on_pool and not self.shortcut else None

    def as_json(self) -> dict[str, Any]:
        """As it is stored with a round and printed with `--json`."""
        pool = None if self.pool is None else asdict(self.pool)
        return {"pool": pool, **asdict(self)}

    @classmethod
    def from_outcome(cls, outcome: Mapping[str, Any]) -> PoolError | None:
        """What a round stored; None for a round that measured nothing.

        Rounds of earlier versions stored an estimate and whose labels it rests on.
        """
        stored = outcome.get("error")
        if stored is None:
            estimate = outcome.get("estimate")
            if estimate is None:
                return None
            return cls(
                labels=ErrorEstimate(**estimate),
                on_pool=outcome.get("basis") == "pool",
                shortcut=any(each["kind"] == "shortcut" for each in outcome.get("alarms", [])),
            )
        values = {name: value for name, value in stored.items() if name != "pool"}
        values["labels"] = ErrorEstimate(**values["labels"])
        if values["with_undecided"] is not None:
            values["with_undecided"] = ErrorEstimate(**values["with_undecided"])
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdError:
    """The error of the labels beyond the thresholds, and of those that this round's scores add.

    `added` is None where the scores of the last round are lost. `on_pool`: the labels are a
    random sample of the pool, else they are seeds.
    """

    beyond: ErrorEstimate
    added: ErrorEstimate | None
    on_pool: bool

    @classmethod
    def from_outcome(cls, outcome: Mapping[str, Any]) -> ThresholdError | None:
        """What a round stored; None where it could not measure, or is of an earlier version."""
        stored = outcome.get("threshold_error")
        if stored is None:
            return None
        added = stored["added"]
        return cls(
            beyond=ErrorEstimate(**stored["beyond"]),
            added=None if added is None else ErrorEstimate(**added),
            on_pool=stored["on_pool"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherThresholds:
    """How many more images other thresholds would promote, and the error of labels beyond them."""

    promote_above: float
    promote_below: float
    images: int
    error: ErrorEstimate

    @classmethod
    def from_outcome(cls, outcome: Mapping[str, Any]) -> tuple[OtherThresholds, ...]:
        """What a round stored; nothing for a round of an earlier version."""
        return tuple(
            cls(**{**each, "error": ErrorEstimate(**each["error"])})
            for each in outcome.get("other_thresholds", ())
        )


def pool_error(
    estimate: ErrorEstimate, human: HumanLabels, *, on_pool: bool, shortcut: bool
) -> PoolError:
    """What these labels say; `estimate` is the out-of-fold error of the random sample or seeds."""
    sample = human.speaks_for_pool
    nameless = [code_of(CurrentLabel.UNSURE), code_of(CurrentLabel.CONFLICT)]
    undecided = int((sample & np.isin(human.standing, nameless)).sum()) + human.unanswered
    with_undecided = None
    if on_pool and undecided:
        with_undecided = error_from_counts(estimate.errors + undecided, estimate.sample + undecided)
    return PoolError(
        labels=estimate,
        on_pool=on_pool,
        random_labels=int((sample & ~np.isin(human.standing, nameless)).sum()),
        undecided=undecided,
        with_undecided=with_undecided,
        shortcut=shortcut,
    )
