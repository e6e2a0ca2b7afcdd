"""Search for better settings: many trainings on the same labels, the best one applied.

Candidates are compared on validation labels only. The winner is then trained again on
training and validation labels together and evaluated once on the test split; the result is
stored, so a second run gives the same answer. Every trial is stored in a journal, so an
interrupted search continues.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from curator.base.progress import SILENT, Progress, Stage
from curator.base.sealed import Note, cut_to_seal, read_sealed, seal_file, write_sealed
from curator.catalogue.leases import lease
from curator.charts.lines import Chart, Line, draw_charts
from curator.classifiers.devices import core_count, use_threads
from curator.classifiers.quiet import quiet_libraries
from curator.errors import DataError, LearnError, SettingsError, UsageError
from curator.settings.file import as_toml, setting_keys, unknown_key, write_settings
from curator.settings.sections import TuneSettings
from curator.statistics.metrics import ErrorEstimate
from curator.tuning.trials import (
    StudyLabels,
    Value,
    error_on,
    needs_networks,
    study_labels,
    subset,
    train_on,
    with_settings,
)
from curator.workspace import Workspace

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Candidate = dict[str, Value]
Sampler = Literal["grid", "random", "tpe"]

_JOURNAL = "trials.journal"
_RESULT = "result"
_CHART_LINES = 6
_SPACE_FORMS = "Write KEY=a,b,c, KEY=low..high, KEY=log:low..high or KEY=name_{a,b}."


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedCandidate:
    """One trial: its stage (from 1), its settings, and its figures on the validation labels.

    A trial that could not be trained has no figures, and `failed` says why.
    """

    stage: int
    settings: Candidate
    labels: int
    loss: float | None
    error: float | None
    best_epoch: int | None
    seconds: float
    parameters: int | None
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneReport:
    """Result of a search.

    `winner` are the best settings of the last stage. `test` is the winner's error on the test
    split after training on all other labels, None without a test split. `finished` is False
    if the time limit ended the search. `applied` says whether `curator.toml` was changed.
    """

    tried: tuple[TriedCandidate, ...]
    winner: Candidate | None
    validation_loss: float | None
    validation_error: float | None
    test: ErrorEstimate | None
    epochs: int | None
    plot: Path | None
    folder: Path
    finished: bool
    applied: bool


def tune(
    workspace: Workspace,
    *,
    space: Sequence[str] = (),
    search: str | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    apply: bool = False,
    progress: Progress = SILENT,
) -> TuneReport:
    """Search the settings that `space` (or `tune.space`) names.

    Defaults come from the section `[tune]`. Raises UsageError or SettingsError for a space
    that cannot be searched, DataError with too few labels.
    """
    settings = workspace.settings
    needs_networks(settings)
    use_threads(settings.runtime.threads or core_count())
    dimensions = parse_space(space or settings.tune.space)
    _check_space(workspace, dimensions)
    kind = search or settings.tune.search
    stages = _stages(settings.tune, kind, trials or settings.tune.trials)
    labels = study_labels(workspace, chooses=True)
    folder = _folder(workspace, dimensions, kind, stages, labels)
    limit = settings.tune.minutes if minutes is None else minutes
    deadline = time.monotonic() + 60 * limit if limit else float("inf")
    candidate_count = combinations(dimensions)
    searches: list[Search] = []
    in_time = True
    with (
        lease(workspace.catalogue, "tune"),
        progress.stage("tune", sum(count for count, _ in stages), "trials") as stage,
    ):
        best: list[Candidate] = []
        for number, (count, share) in enumerate(stages, 1):
            sampler = _sampler(kind, number, candidate_count, count)
            journal = folder / _JOURNAL
            stage_search = Search(
                journal, f"stage-{number}", dimensions, sampler, settings.runtime.seed,
                progress.note,
            )  # fmt: skip
            searches.append(stage_search)
            # A later stage tries the best candidates of the one before, and no others.
            stage_search.prefer(best)
            possible = candidate_count or count if number == 1 else len(best)
            in_time = _try_candidates(
                workspace, labels, stage_search, min(count, possible), share, deadline, stage,
                progress,
            )  # fmt: skip
            if not in_time:
                break
            next_count = stages[number][0] if number < len(stages) else 0
            best = [dict(trial.params) for trial in _ranked(stage_search.trials())[:next_count]]
    tried = [stage_search.trials() for stage_search in searches]
    ranked = _ranked(tried[-1])
    finished = in_time and len(tried) == len(stages) and bool(ranked)
    winner = _tried(ranked[0], len(tried)) if ranked else None
    test = None
    if finished and winner:
        test = _test_error(workspace, labels, winner, folder, progress)
    plot = _plot(folder, [trial for trials_of_stage in tried for trial in trials_of_stage])
    if apply:
        if winner is None or not finished:
            raise DataError(
                "The search is not finished, so there is no winner to apply.",
                "Run the same command again; it continues where it stopped.",
            )
        changes = {key: as_toml(value) for key, value in winner.settings.items()}
        write_settings(workspace.root, changes)
    return TuneReport(
        tried=tuple(
            _tried(trial, number)
            for number, trials_of_stage in enumerate(tried, 1)
            for trial in trials_of_stage
        ),
        winner=winner.settings if winner else None,
        validation_loss=winner.loss if winner else None,
        validation_error=winner.error if winner else None,
        test=test,
        epochs=winner.best_epoch if winner and finished else None,
        plot=plot,
        folder=folder,
        finished=finished,
        applied=apply,
    )


def _check_space(workspace: Workspace, space: Sequence[Dimension]) -> None:
    """Raise unless every key is a setting, and every choice or end of a range is allowed."""
    keys = set(setting_keys())
    for dimension in space:
        if dimension.key not in keys:
            raise unknown_key(dimension.key)
        low, high = dimension.low, dimension.high
        ends: tuple[Value, ...] = (int(low), int(high)) if dimension.whole else (low, high)
        for value in dimension.choices or ends:
            with_settings(workspace, {dimension.key: value})


def _stages(settings: TuneSettings, kind: str, trials: int) -> list[tuple[int, float]]:
    """The number of candidates and the share of the training labels of each stage."""
    if kind == "staged":
        return list(zip(settings.candidates, settings.shares, strict=True))
    if kind not in ("random", "grid", "tpe"):
        raise UsageError(
            f"There is no search `{kind}`.", "Choose from staged, random, grid and tpe."
        )
    return [(trials, 1.0)]


def _sampler(kind: str, stage: int, candidate_count: int | None, trials: int) -> Sampler:
    if kind == "grid" and candidate_count is None:
        raise UsageError(
            "A grid needs a list of values for every setting, not a range.",
            "Write KEY=a,b,c, or search at random.",
        )
    all_can_be_tried = candidate_count is not None and candidate_count <= trials
    if kind == "grid" or (kind == "staged" and all_can_be_tried):
        return "grid"
    return "tpe" if kind == "tpe" and stage == 1 else "random"


def _folder(
    workspace: Workspace,
    space: Sequence[Dimension],
    kind: str,
    stages: Sequence[tuple[int, float]],
    labels: StudyLabels,
) -> Path:
    """The folder of this search; other settings, labels or spaces have other folders."""
    searched = {dimension.key for dimension in space}
    settings = workspace.settings.model_dump(mode="json")
    facts = {
        "space": [asdict(dimension) for dimension in space],
        "search": kind,
        "shares": [share for _, share in stages],
        "settings": {
            name: {key: value for key, value in section.items() if f"{name}.{key}" not in searched}
            for name, section in settings.items()
            if name in ("classifier", "training", "runtime")
        },
        "labels": [labels.train.image_ids.tolist(), labels.train.positive.tolist()],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    folder = workspace.folder("tune") / digest[:12]
    folder.mkdir(exist_ok=True)
    return folder


def _try_candidates(
    workspace: Workspace,
    labels: StudyLabels,
    search: Search,
    count: int,
    share: float,
    deadline: float,
    stage: Stage,
    progress: Progress,
) -> bool:
    """Try candidates until there are `count` trials; False if the deadline came first."""
    done = len(search.trials())
    stage.advance(min(done, count))
    for _ in range(done, count):
        if time.monotonic() > deadline:
            return False
        candidate = search.ask()
        name = _candidate_name(candidate)
        try:
            changed = with_settings(workspace, candidate)
            seed = changed.settings.runtime.seed
            validation_share = changed.settings.training.validation_share or 0.2
            train, validation = labels.divided(validation_share, seed)
            train = subset(train, share, seed)
            trained = train_on(changed, train, validation, seed=seed)
        except (LearnError, SettingsError) as error:
            search.fail(error.problem)
            progress.note(f"{name}: {error.problem}")
        else:
            best = trained.best
            assert best.validation_loss is not None and best.validation_error is not None
            by_loss = workspace.settings.tune.metric == "loss"
            search.tell(
                best.validation_loss if by_loss else best.validation_error,
                {
                    "history": [asdict(record) for record in trained.history],
                    "best_epoch": trained.best_epoch,
                    "seconds": trained.seconds,
                    "parameters": trained.parameters,
                    "labels": len(train),
                },
            )
            progress.note(
                f"{name}: validation loss {best.validation_loss:.4f}, error"
                f" {best.validation_error:.1%}, {trained.seconds:.1f} s."
            )
        stage.advance()
    return True


def _ranked(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that were trained, best first; equal ones in the order of trying."""
    trained = [trial for trial in trials if trial.value is not None]
    return sorted(trained, key=lambda trial: (trial.value, trial.number))


def _candidate_name(candidate: Mapping[str, Value]) -> str:
    return ", ".join(
        f"{key.partition('.')[2]} {value:.3g}" if isinstance(value, float) else
        f"{key.partition('.')[2]} {value}"
        for key, value in candidate.items()
    )  # fmt: skip


def _test_error(
    workspace: Workspace,
    labels: StudyLabels,
    winner: TriedCandidate,
    folder: Path,
    progress: Progress,
) -> ErrorEstimate | None:
    """Error on the test split of the winner, trained on all other labels; measured once."""
    path = folder / _RESULT
    content = read_sealed(path, folder.name, progress.note)
    stored = None if content is None else json.loads(content)
    if stored is not None and stored["winner"] == winner.settings:
        return ErrorEstimate(**stored["test"])
    if not len(labels.test):
        progress.note(
            "No label is in the test split, so the error of the winner on images that had no part"
            " in choosing it is unknown. Set splits.test_share before labelling."
        )
        return None
    changed = with_settings(workspace, winner.settings)
    trained = train_on(
        changed,
        labels.train,
        None,
        seed=changed.settings.runtime.seed,
        progress=progress,
        epochs=winner.best_epoch,
        patience=0,
    )
    test = error_on(changed, trained, labels.test, progress)
    result = {"winner": winner.settings, "epochs": winner.best_epoch, "test": asdict(test)}
    write_sealed(path, folder.name, json.dumps(result).encode())
    return test


def _tried(trial: FrozenTrial, stage: int) -> TriedCandidate:
    facts = trial.user_attrs
    history = facts.get("history", [])
    best = history[facts["best_epoch"] - 1] if history else {}
    return TriedCandidate(
        stage=stage,
        settings=dict(trial.params),
        labels=int(facts.get("labels", 0)),
        loss=best.get("validation_loss"),
        error=best.get("validation_error"),
        best_epoch=facts.get("best_epoch"),
        seconds=float(facts.get("seconds", 0.0)),
        parameters=facts.get("parameters"),
        failed=str(facts.get("failed", "")),
    )


def _plot(folder: Path, trials: Sequence[FrozenTrial]) -> Path | None:
    """Validation loss by epoch and by time, of the best trials of all stages."""
    trained = [trial for trial in trials if trial.user_attrs.get("history")]
    if not trained:
        return None
    best = sorted(trained, key=lambda trial: trial.value or np.inf)[:_CHART_LINES]
    charts = [loss_chart(best, "epoch"), loss_chart(best, "seconds")]
    return draw_charts(folder / "loss.png", charts)


def loss_chart(trials: Sequence[FrozenTrial], over: Literal["epoch", "seconds"]) -> Chart:
    """Validation loss of trials over epochs or over seconds.

    The lines name the number of labels where it differs between stages.
    """
    staged = len({trial.user_attrs.get("labels") for trial in trials}) > 1
    lines = []
    for trial in trials:
        history = trial.user_attrs["history"]
        labels = f", {trial.user_attrs['labels']:,} labels" if staged else ""
        lines.append(
            Line(
                name=_candidate_name(trial.params) + labels,
                x=tuple(float(record[over]) for record in history),
                y=tuple(float(record["validation_loss"]) for record in history),
            )
        )
    return Chart(
        title=f"Validation loss by {'epoch' if over == 'epoch' else 'time'}",
        x_name=over,
        y_name="log loss",
        lines=tuple(lines),
    )


class Search:
    """One stage of a search, named `name`, in the journal file at `path`."""

    def __init__(
        self, path: Path, name: str, space: Sequence[Dimension], sampler: Sampler, seed: int,
        note: Note,
    ) -> None:  # fmt: skip
        self._path = path
        with quiet_libraries():
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            self._optuna = optuna
            cut_to_seal(path, note)
            storage = JournalStorage(JournalFileBackend(str(path)))
            self._study = optuna.create_study(
                storage=storage, study_name=name, direction="minimize", load_if_exists=True
            )
        self._sampler, self._seed = sampler, seed
        self._distributions = {dimension.key: self._distribution(dimension) for dimension in space}
        self._running: Any = None
        self._repeat_interrupted()
        if sampler == "grid":
            names = [dimension.key for dimension in space]
            values = itertools.product(*(dimension.choices for dimension in space))
            self.prefer([dict(zip(names, each, strict=True)) for each in values])
        seal_file(path)

    def trials(self) -> list[FrozenTrial]:
        """Every trial that ended, in order; one that failed has no value."""
        state = self._optuna.trial.TrialState
        return self._study.get_trials(deepcopy=False, states=(state.COMPLETE, state.PRUNED))

    def ask(self) -> Candidate:
        """The next candidate; it counts after `tell` or `fail`."""
        samplers = self._optuna.samplers
        kind = samplers.TPESampler if self._sampler == "tpe" else samplers.RandomSampler
        with quiet_libraries():
            # A new sampler with a seed by trial: a resumed search draws what it would have drawn.
            self._study.sampler = kind(self._seed + len(self._study.get_trials(deepcopy=False)))
            self._running = self._study.ask(self._distributions)
        return dict(self._running.params)

    def prefer(self, candidates: Sequence[Candidate]) -> None:
        """Put these first, unless they were tried already."""
        for candidate in candidates:
            with quiet_libraries():
                self._study.enqueue_trial(dict(candidate), skip_if_exists=True)

    def tell(self, value: float, facts: Mapping[str, Any]) -> None:
        """Record the value of the candidate, and facts about its training."""
        for name, fact in facts.items():
            self._running.set_user_attr(name, fact)
        self._study.tell(self._running, value)
        seal_file(self._path)

    def fail(self, reason: str) -> None:
        """Record that the candidate could not be trained; it is not tried again."""
        self._running.set_user_attr("failed", reason)
        self._study.tell(self._running, state=self._optuna.trial.TrialState.PRUNED)
        seal_file(self._path)

    def _repeat_interrupted(self) -> None:
        state = self._optuna.trial.TrialState
        for trial in self._study.get_trials(deepcopy=False, states=(state.RUNNING,)):
            self._study.tell(trial.number, state=state.FAIL)
            with quiet_libraries():
                self._study.enqueue_trial(dict(trial.params))

    def _distribution(self, dimension: Dimension) -> Any:
        kinds = self._optuna.distributions
        if dimension.choices:
            return kinds.CategoricalDistribution(dimension.choices)
        if dimension.whole:
            low, high = int(dimension.low), int(dimension.high)
            return kinds.IntDistribution(low, high, log=dimension.logarithmic)
        return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.logarithmic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One setting of a search: its `choices`, or a range if there are none."""

    key: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    logarithmic: bool = False
    whole: bool = False


def parse_space(lines: Sequence[str]) -> tuple[Dimension, ...]:
    """The dimensions of `KEY=VALUES` lines. Raises UsageError for a line that is not one."""
    dimensions = tuple(_dimension(line) for line in lines)
    keys = [dimension.key for dimension in dimensions]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise UsageError(f"`{sorted(twice)[0]}` is in the search twice.", "Name it once.")
    if not dimensions:
        raise UsageError("The search space is empty.", f"{_SPACE_FORMS} Or set tune.space.")
    return dimensions


def _dimension(line: str) -> Dimension:
    key, equals, text = line.partition("=")
    key, text = key.strip(), text.strip()
    if not equals or not key or not text:
        raise UsageError(f"`{line}` is not a setting with its values.", _SPACE_FORMS)
    if ".." not in text:
        values = [value for part in _commas(text) for value in _braces(part)]
        return Dimension(key=key, choices=tuple(_value(value) for value in values))
    logarithmic = text.startswith("log:")
    ends = text.removeprefix("log:").split("..")
    try:
        low, high = (float(end) for end in ends)
    except ValueError:
        raise UsageError(f"`{line}` is not a range of numbers.", _SPACE_FORMS) from None
    if not low < high or (logarithmic and low <= 0):
        raise UsageError(
            f"`{line}` is an empty range.", "Its first number must be smaller than the second."
        )
    whole = all(end.strip().lstrip("-").isdigit() for end in ends)
    return Dimension(key=key, low=low, high=high, logarithmic=logarithmic, whole=whole)


def _commas(text: str) -> Iterator[str]:
    """The parts between commas that are not in braces."""
    depth, part = 0, ""
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += letter
    yield part.strip()


def _braces(text: str) -> Iterator[str]:
    """`a{1,2}b` as `a1b`, `a2b`."""
    start, end = text.find("{"), text.find("}")
    if start < 0 or end < start:
        yield text
        return
    for choice in text[start + 1 : end].split(","):
        yield from _braces(text[:start] + choice.strip() + text[end + 1 :])


def _value(text: str) -> Value:
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, (bool, int, float, str)) else text


def combinations(space: Sequence[Dimension]) -> int | None:
    """The number of candidates of the space; None if a setting has a range."""
    if any(not dimension.choices for dimension in space):
        return None
    return math.prod(len(dimension.choices) for dimension in space)
