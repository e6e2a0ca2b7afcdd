"""Looking for better settings: many trainings on the same labels, the best one applied.

Candidates are compared on validation labels only. The winner is then trained again on
training and validation labels together, and the test split is looked at once, at the very
end; what it said is kept, and a second look gives the same answer. Every trial is kept,
so that an interrupted search goes on.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from curator.base.files import replacing
from curator.base.progress import SILENT, Progress, Stage
from curator.charts.lines import Chart, Line, draw_charts
from curator.classifiers.devices import core_count, use_threads
from curator.classifiers.quiet import quiet_libraries
from curator.errors import DataError, LearnError, SettingsError, UsageError
from curator.settings.file import as_toml, setting_keys, unknown_key, write_settings
from curator.statistics.metrics import ErrorEstimate
from curator.tuning.trials import (
    StudyLabels,
    TrialResult,
    Value,
    error_on,
    needs_networks,
    study_labels,
    subset,
    train_on,
    with_settings,
)
from curator.workspace import Workspace

_JOURNAL = "trials.journal"
_RESULT = "result.json"
_SHOWN_LINES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedCandidate:
    """One trial: its stage (from 1), the settings tried, and what came out on validation.

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
    """What a search found.

    `winner` are the settings that were best in the last stage. `test` is the winner's error
    on the test split after training on everything else, None without a test split.
    `finished` is False when the time was up first. `applied` says whether `curator.toml`
    was changed.
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

    What is not given is taken from the section `[tune]`. Raises UsageError or SettingsError
    for a space that cannot be searched, DataError with too few labels.
    """
    needs_networks(workspace.settings)
    use_threads(workspace.settings.runtime.threads or core_count())
    wanted = workspace.settings.tune
    dimensions = _checked(workspace, parse_space(space or wanted.space))
    kind = search or wanted.search
    stages = _stages(workspace, kind, trials or wanted.trials)
    labels = study_labels(workspace)
    folder = _folder(workspace, dimensions, kind, stages, labels)
    deadline = _deadline(wanted.minutes if minutes is None else minutes)
    finished, searches = True, []
    with progress.stage("tune", sum(count for count, _ in stages), "trials") as stage:
        preferred: list[Candidate] = []
        for number, (count, share) in enumerate(stages, 1):
            sampler = _sampler(kind, number, dimensions, count)
            seed = workspace.settings.runtime.seed
            found = Search(folder / _JOURNAL, f"stage-{number}", dimensions, sampler, seed)
            found.prefer(preferred)
            wanted_count = _reachable(count, dimensions, preferred, number)
            finished = _try_all(
                workspace, labels, found, wanted_count, share, deadline, stage, progress
            )
            searches.append(found)
            if not finished:
                break
            best = _ranked(found.trials(), wanted.metric)
            following = stages[number][0] if number < len(stages) else 0
            preferred = [one.candidate for one in best[:following]]
    return _report(workspace, labels, searches, stages, folder, finished, apply, progress)


def _checked(workspace: Workspace, space: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
    """`space`, of which every key is a setting and every end a value that it takes."""
    known = set(setting_keys())
    for one in space:
        if one.key not in known:
            raise unknown_key(one.key)
        ends: tuple[Value, ...] = one.choices or (
            (int(one.low), int(one.high)) if one.whole else (one.low, one.high)
        )
        for value in ends:
            with_settings(workspace, {one.key: value})
    return space


def _stages(workspace: Workspace, kind: str, trials: int) -> list[tuple[int, float]]:
    """How many candidates on which share of the training labels, stage by stage."""
    wanted = workspace.settings.tune
    if kind == "staged":
        return list(zip(wanted.candidates, wanted.shares, strict=True))
    if kind not in ("random", "grid", "tpe"):
        raise UsageError(
            f"There is no search `{kind}`.", "Choose from staged, random, grid and tpe."
        )
    return [(trials, 1.0)]


def _sampler(kind: str, stage: int, space: tuple[Dimension, ...], count: int) -> Sampler:
    candidates = combinations(space)
    if kind == "grid" and candidates is None:
        raise UsageError(
            "A grid needs a list of values for every setting, not a range.",
            "Write KEY=a,b,c, or search at random.",
        )
    if kind == "grid" or (kind == "staged" and candidates is not None and candidates <= count):
        return "grid"
    return "tpe" if kind == "tpe" and stage == 1 else "random"


def _reachable(
    count: int, space: tuple[Dimension, ...], preferred: list[Candidate], stage: int
) -> int:
    """No more trials than there are candidates."""
    if stage > 1:
        return min(count, len(preferred))
    return min(count, combinations(space) or count)


def _deadline(minutes: float) -> float:
    return time.monotonic() + 60 * minutes if minutes else float("inf")


def _folder(
    workspace: Workspace,
    space: tuple[Dimension, ...],
    kind: str,
    stages: list[tuple[int, float]],
    labels: StudyLabels,
) -> Path:
    """Where this search is kept: another one if settings, labels or the space are others."""
    searched = {one.key for one in space}
    settings = workspace.settings.model_dump(mode="json")
    facts = {
        "space": [asdict(one) for one in space],
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


def _try_all(
    workspace: Workspace,
    labels: StudyLabels,
    search: Search,
    count: int,
    share: float,
    deadline: float,
    stage: Stage,
    progress: Progress,
) -> bool:
    """Try candidates until there are `count`; False if the time was up first."""
    done = len(search.trials())
    stage.advance(min(done, count))
    while done < count:
        if time.monotonic() > deadline:
            return False
        candidate = search.ask()
        try:
            outcome = _trial(workspace, labels, candidate, share)
        except (LearnError, SettingsError) as error:
            search.fail(error.problem)
            progress.note(f"{_named(candidate)}: {error.problem}")
        else:
            best = outcome.best
            wanted = workspace.settings.tune.metric
            value = best.validation_loss if wanted == "loss" else best.validation_error
            assert value is not None
            search.tell(value, _facts(outcome, labels, share, workspace))
            progress.note(
                f"{_named(candidate)}: validation loss {best.validation_loss:.4f}, error"
                f" {best.validation_error:.1%}, {outcome.seconds:.1f} s."
            )
        done += 1
        stage.advance()
    return True


def _trial(
    workspace: Workspace, labels: StudyLabels, candidate: Candidate, share: float
) -> TrialResult:
    changed = with_settings(workspace, candidate)
    seed, training = changed.settings.runtime.seed, changed.settings.training
    train, validation = labels.divided(training.validation_share or 0.2, seed)
    outcome, _ = train_on(changed, subset(train, share, seed), validation, seed=seed)
    return outcome


def _facts(
    outcome: TrialResult, labels: StudyLabels, share: float, workspace: Workspace
) -> dict[str, Any]:
    training = workspace.settings.training
    train, _ = labels.divided(training.validation_share or 0.2, workspace.settings.runtime.seed)
    return {
        "history": [asdict(record) for record in outcome.history],
        "best_epoch": outcome.best_epoch,
        "seconds": outcome.seconds,
        "parameters": outcome.parameters,
        "labels": len(subset(train, share, workspace.settings.runtime.seed)),
    }


def _ranked(trials: list[Trial], metric: str) -> list[Trial]:
    """Those that were trained, best first; equals in the order of trying."""
    trained = [one for one in trials if one.value is not None]
    return sorted(trained, key=lambda one: (one.value, one.number))


def _named(candidate: Mapping[str, Value]) -> str:
    return ", ".join(
        f"{key.partition('.')[2]} {value:.3g}" if isinstance(value, float) else
        f"{key.partition('.')[2]} {value}"
        for key, value in candidate.items()
    )  # fmt: skip


def _report(
    workspace: Workspace,
    labels: StudyLabels,
    searches: list[Search],
    stages: list[tuple[int, float]],
    folder: Path,
    finished: bool,
    apply: bool,
    progress: Progress,
) -> TuneReport:
    tried = tuple(
        _tried(trial, number)
        for number, search in enumerate(searches, 1)
        for trial in search.trials()
    )
    ranked = _ranked(searches[-1].trials(), workspace.settings.tune.metric) if searches else []
    winner = ranked[0] if ranked else None
    whole = finished and len(searches) == len(stages) and winner is not None
    test, epochs = _judge(workspace, labels, winner, folder, progress) if whole else (None, None)
    best = _tried(winner, len(searches)) if winner else None
    plot = _plot(folder, [trial for search in searches for trial in search.trials()])
    if apply:
        _apply(workspace, winner, whole)
    return TuneReport(
        tried=tried,
        winner=dict(winner.candidate) if winner else None,
        validation_loss=best.loss if best else None,
        validation_error=best.error if best else None,
        test=test,
        epochs=epochs,
        plot=plot,
        folder=folder,
        finished=whole,
        applied=apply,
    )


def _apply(workspace: Workspace, winner: Trial | None, whole: bool) -> None:
    if winner is None or not whole:
        raise DataError(
            "The search is not finished, so there is no winner to apply.",
            "Run the same command again; it goes on where it was.",
        )
    changes = {key: as_toml(value) for key, value in winner.candidate.items()}
    write_settings(workspace.root, changes)


def _judge(
    workspace: Workspace,
    labels: StudyLabels,
    winner: Trial | None,
    folder: Path,
    progress: Progress,
) -> tuple[ErrorEstimate | None, int]:
    """Train the winner on all labels but the test split's, and look at these once."""
    assert winner is not None
    epochs = int(winner.facts["best_epoch"])
    kept = folder / _RESULT
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else None
    if known is not None and known["winner"] == winner.candidate:
        return ErrorEstimate(**known["test"]), epochs
    if not len(labels.test):
        progress.note(
            "No label is in the test split, so nothing says how good the winner is on images that"
            " had no part in choosing it. Set splits.test_share before labelling."
        )
        return None, epochs
    changed = with_settings(workspace, winner.candidate)
    seed = changed.settings.runtime.seed
    _, trained = train_on(
        changed, labels.train, None, seed=seed, progress=progress, epochs=epochs, patience=0
    )
    test = error_on(changed, trained, labels.test, progress)
    content = {"winner": winner.candidate, "epochs": epochs, "test": asdict(test)}
    with replacing(kept) as stream:
        stream.write(json.dumps(content, indent=2).encode())
    return test, epochs


def _tried(trial: Trial, stage: int) -> TriedCandidate:
    facts = trial.facts
    history = facts.get("history", [])
    best = history[facts["best_epoch"] - 1] if history else {}
    return TriedCandidate(
        stage=stage,
        settings=dict(trial.candidate),
        labels=int(facts.get("labels", 0)),
        loss=best.get("validation_loss"),
        error=best.get("validation_error"),
        best_epoch=facts.get("best_epoch"),
        seconds=float(facts.get("seconds", 0.0)),
        parameters=facts.get("parameters"),
        failed=str(facts.get("failed", "")),
    )


def _plot(folder: Path, trials: list[Trial]) -> Path | None:
    """Validation loss by epoch and by time, of the best few trials of all stages."""
    trained = [one for one in trials if one.facts.get("history")]
    if not trained:
        return None
    shown = sorted(trained, key=lambda one: one.value or np.inf)[:_SHOWN_LINES]
    return draw_charts(
        folder / "loss.png", [loss_chart(shown, "epoch"), loss_chart(shown, "seconds")]
    )


def loss_chart(trials: Sequence[Trial], over: str) -> Chart:
    """Validation loss of trials over `epoch` or over `seconds`.

    Where stages taught with more labels than others, the lines say with how many.
    """
    staged = len({one.facts.get("labels") for one in trials}) > 1
    lines = tuple(
        Line(
            name=_named(one.candidate) + (f", {one.facts['labels']:,} labels" if staged else ""),
            x=tuple(float(record[over]) for record in one.facts["history"]),
            y=tuple(float(record["validation_loss"]) for record in one.facts["history"]),
        )
        for one in trials
    )
    return Chart(
        title=f"Validation loss by {'epoch' if over == 'epoch' else 'time'}",
        x_name=over,
        y_name="log loss",
        lines=lines,
    )


Sampler = Literal["grid", "random", "tpe"]


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


_FORMS = "Write KEY=a,b,c, KEY=low..high, KEY=log:low..high or KEY=name_{a,b}."

Candidate = dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One setting of a search: its `choices`, or, where these are empty, a range."""

    key: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    logarithmic: bool = False
    whole: bool = False


def parse_space(lines: Sequence[str]) -> tuple[Dimension, ...]:
    """The dimensions that `KEY=VALUES` lines mean. Raises UsageError for what they cannot mean."""
    dimensions = tuple(_dimension(line) for line in lines)
    keys = [one.key for one in dimensions]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise UsageError(f"`{sorted(twice)[0]}` is in the search twice.", "Name it once.")
    if not dimensions:
        raise UsageError("The search has nothing to go through.", f"{_FORMS} Or set tune.space.")
    return dimensions


def _dimension(line: str) -> Dimension:
    key, equals, text = line.partition("=")
    key, text = key.strip(), text.strip()
    if not equals or not key or not text:
        raise UsageError(f"`{line}` does not say what to search.", _FORMS)
    if ".." in text:
        return _range(key, text, line)
    values = [value for part in _commas(text) for value in _braces(part)]
    return Dimension(key=key, choices=tuple(_value(value) for value in values))


def _range(key: str, text: str, line: str) -> Dimension:
    logarithmic = text.startswith("log:")
    ends = text.removeprefix("log:").split("..")
    try:
        low, high = (float(end) for end in ends)
    except ValueError:
        raise UsageError(f"`{line}` is not a range of numbers.", _FORMS) from None
    if not low < high or (logarithmic and low <= 0):
        raise UsageError(f"`{line}` is an empty range.", "Its first number must be the smaller.")
    whole = all(_is_whole(end) for end in ends)
    return Dimension(key=key, low=low, high=high, logarithmic=logarithmic, whole=whole)


def _is_whole(text: str) -> bool:
    return text.strip().lstrip("-").isdigit()


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
    """How many candidates the space has; None with a range."""
    if any(not one.choices for one in space):
        return None
    return len(list(itertools.product(*(one.choices for one in space))))
