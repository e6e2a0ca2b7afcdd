"""Searching settings with Optuna, every trial kept in a file that a later run goes on with.

Trials are asked for and told of, so the training itself knows nothing of the search. A
trial that was cut off is tried again; one that failed keeps its reason. Chance follows
from the seed and the number of the trial, so a search that was interrupted goes on as it
would have.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curator.classifiers.quiet import quiet_libraries
from curator.tuning.space import Dimension, Value

Sampler = Literal["grid", "random", "tpe"]
Candidate = dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One candidate that was tried: its settings, its value (None if it failed), and facts."""

    number: int
    candidate: Candidate
    value: float | None
    facts: Mapping[str, Any]


class Search:
    """One stage of a search, named `name`, in the journal file at `path`."""

    def __init__(
        self, path: Path, name: str, space: Sequence[Dimension], sampler: Sampler, seed: int
    ) -> None:
        with quiet_libraries():
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            self._optuna = optuna
            storage = JournalStorage(JournalFileBackend(str(path)))
            self._study = optuna.create_study(
                storage=storage, study_name=name, direction="minimize", load_if_exists=True
            )
        self._sampler, self._seed = sampler, seed
        self._distributions = {one.key: self._distribution(one) for one in space}
        self._asked: Any = None
        self._take_up_what_was_cut_off()
        if sampler == "grid":
            names = [one.key for one in space]
            values = itertools.product(*(one.choices for one in space))
            self.prefer([dict(zip(names, each, strict=True)) for each in values])

    def trials(self) -> list[Trial]:
        """Every trial that came to an end, in order."""
        ended = (self._optuna.trial.TrialState.COMPLETE, self._optuna.trial.TrialState.PRUNED)
        return [
            Trial(
                number=one.number,
                candidate=dict(one.params),
                value=one.value if one.state == ended[0] else None,
                facts=dict(one.user_attrs),
            )
            for one in self._study.get_trials(deepcopy=False, states=ended)
        ]

    def ask(self) -> Candidate:
        """The next candidate; it counts once `tell` or `fail` was called."""
        with quiet_libraries():
            self._study.sampler = self._fresh_sampler()
            self._asked = self._study.ask(self._distributions)
        return dict(self._asked.params)

    def prefer(self, candidates: Sequence[Candidate]) -> None:
        """Let these be asked next, unless they have been already."""
        for candidate in candidates:
            with quiet_libraries():
                self._study.enqueue_trial(dict(candidate), skip_if_exists=True)

    def tell(self, value: float, facts: Mapping[str, Any]) -> None:
        """What the candidate came to."""
        for name, fact in facts.items():
            self._asked.set_user_attr(name, fact)
        self._study.tell(self._asked, value)

    def fail(self, reason: str) -> None:
        """The candidate could not be trained; it is not tried again."""
        self._asked.set_user_attr("failed", reason)
        self._study.tell(self._asked, state=self._optuna.trial.TrialState.PRUNED)

    def _take_up_what_was_cut_off(self) -> None:
        state = self._optuna.trial.TrialState
        for one in self._study.get_trials(deepcopy=False, states=(state.RUNNING,)):
            self._study.tell(one.number, state=state.FAIL)
            with quiet_libraries():
                self._study.enqueue_trial(dict(one.params))

    def _fresh_sampler(self) -> Any:
        samplers = self._optuna.samplers
        seed = self._seed + len(self._study.get_trials(deepcopy=False))
        return (samplers.TPESampler if self._sampler == "tpe" else samplers.RandomSampler)(seed)

    def _distribution(self, dimension: Dimension) -> Any:
        kinds = self._optuna.distributions
        if dimension.choices:
            return kinds.CategoricalDistribution(dimension.choices)
        if dimension.whole:
            low, high = int(dimension.low), int(dimension.high)
            return kinds.IntDistribution(low, high, log=dimension.logarithmic)
        return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.logarithmic)
