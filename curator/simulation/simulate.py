"""Simulation of the whole process with known labels, to choose settings before people decide.

Seeds are drawn from the known labels, rounds trained, thresholds applied, audits planned,
drawn, answered and closed, many times, by the functions that rounds and certificates call.
All of it happens on arrays in memory: no label, score or promotion of the workspace changes.
Finished runs are cached in the reports folder, so an interrupted simulation continues, and
one with more repetitions runs only those that are missing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.audits.plan import Promise
from curator.base.arrays import BoolArray, positions_in
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import Label
from curator.catalogue.engine import Catalogue
from curator.catalogue.features import list_feature_sets
from curator.catalogue.pool import pool_chunks, read_pool
from curator.charts.lines import Chart, Line, draw_charts
from curator.classifiers.devices import core_count, use_threads
from curator.classifiers.heads.frozen import FrozenHeads
from curator.encoding.stored_rows import StoredRows, current_features, open_rows
from curator.errors import DataError, UsageError
from curator.intake.answers import KnownLabels, read_known_labels
from curator.rounds.neighbour_graph import pool_graph, uses_graph
from curator.settings.sections import ClassesSettings
from curator.simulation.cache import RunCache
from curator.simulation.policies import (
    KnownScores,
    PolicyOutcome,
    nothing_learned,
    play_certified,
    play_thresholds,
    ready_audit,
)
from curator.simulation.replay import KnownPool, SimulationRun
from curator.simulation.summary import Setting, SimulationOutcome, advise, summarise
from curator.workspace import Workspace

POLICIES = ("raw", "calibrated", "certified")
ALL_FEATURES = "all"
FEWEST_SEEDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRequest:
    """What to simulate: every combination of these, `repetitions` times.

    `decisions` limits the human decisions, seeds and audit together; None lets each audit
    take as many as are worth it. `flipped` is the share of seed labels that are wrong,
    `slips` that of audit answers. With `informative` the second half of the seeds is drawn
    like the queue of that name. `features` are names of feature sets, `all`, or nothing for
    those of the settings.
    """

    seeds: tuple[int, ...] = (100, 200, 400)
    policies: tuple[str, ...] = POLICIES
    max_errors: tuple[float, ...] = (0.01, 0.03)
    decisions: int | None = None
    features: tuple[str, ...] = ()
    rounds: tuple[int, ...] = (1,)
    flipped: float = 0.0
    slips: float = 0.0
    informative: bool = False
    repetitions: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Result of a simulation on `images` images, `positive` of them positive.

    Left out are `unknown` rows of the file about images that the workspace does not have,
    `unsure` rows, and `without_truth` images of the workspace that are not in the file.
    `finished` is False if it was interrupted.
    """

    images: int
    positive: int
    unknown: int
    unsure: int
    without_truth: int
    rows: tuple[SimulationOutcome, ...]
    advice: str
    plot: Path
    charts: tuple[Chart, ...]
    finished: bool


def simulate(
    workspace: Workspace,
    truth: Path,
    request: SimulationRequest | None = None,
    *,
    progress: Progress = SILENT,
) -> Simulation:
    """Simulate every combination of a request on the images of `truth`, a CSV file of labels.

    Raises UsageError for a request that is not valid, DataError for one that these images
    cannot fulfil or if there are no features, LearnError if these are broken. Interrupted by
    the keyboard, it returns what is finished, if there is anything.
    """
    request = request or SimulationRequest()
    _check_request(request)
    file = read_known_labels(workspace, truth)
    labels = _labels_by_image(file, truth)
    use_threads(workspace.settings.runtime.threads or core_count())
    simulated = [
        _SimulatedFeatures(workspace, features, labels, request, truth, progress)
        for features in _feature_sets(workspace, request.features)
    ]
    outcomes: dict[Setting, list[PolicyOutcome]] = {}
    seconds: dict[Setting, list[float]] = {}
    for features in simulated:
        for setting in features.settings():
            outcomes[setting], seconds[setting] = [], []
    finished = True
    try:
        with progress.stage("simulate", request.repetitions * len(simulated), "repetitions") as bar:
            for repetition in range(request.repetitions):
                for features in simulated:
                    for setting, outcome, duration in features.play(repetition):
                        outcomes[setting].append(outcome)
                        seconds[setting].append(duration)
                    bar.advance()
    except KeyboardInterrupt:
        finished = False
        if not all(outcomes.values()):
            raise
    rows = tuple(summarise(setting, outcomes[setting], seconds[setting]) for setting in outcomes)
    charts = charts_of(rows)
    first = simulated[0]
    return Simulation(
        images=len(first.pool),
        positive=int(first.pool.truth.sum()),
        unknown=len(file.answers) - len(file.images),
        unsure=sum(label is Label.UNSURE for label in file.labels.values()),
        without_truth=first.without_truth,
        rows=rows,
        advice=advise(rows, risk=1.0 - workspace.settings.promotion.confidence),
        plot=draw_charts(workspace.folder("reports") / "simulate.png", charts),
        charts=charts,
        finished=finished,
    )


class _SimulatedFeatures:
    """One feature set, on which every setting of a request is simulated."""

    def __init__(
        self,
        workspace: Workspace,
        features: StoredRows,
        labels: dict[int, bool],
        request: SimulationRequest,
        truth: Path,
        progress: Progress,
    ) -> None:
        self._name, self._request, self._settings = features.name, request, workspace.settings
        self.pool, self.without_truth = _known_pool(workspace.catalogue, features, labels)
        _check_pool(self.pool.truth, request, truth, workspace.settings.classes)
        settings = workspace.settings
        neighbours = vectors = digest = None
        if uses_graph(settings):
            pool = read_pool(workspace.catalogue, features.feature_set_id)
            folder, threads = workspace.folder("graphs"), settings.runtime.threads
            graph = pool_graph(folder, features, pool, threads, progress)
            if graph is not None:
                digest = graph.neighbours.digest
                vectors = graph.vectors[positions_in(graph.neighbours.rows, self.pool.rows)]
                if settings.classifier.neighbours:
                    neighbours = graph.neighbours
        self._run = SimulationRun(
            self.pool,
            features,
            FrozenHeads(settings),
            neighbours=neighbours,
            vectors=vectors,
            distance=settings.gates.distance,
        )
        sections = (settings.classifier, settings.promotion, settings.gates, settings.audit)
        self._cache = RunCache(
            workspace.folder("reports") / "simulations",
            (
                features.fingerprint,
                digest,
                *(section.model_dump(mode="json") for section in sections),
                (request.flipped, request.slips, settings.runtime.seed),
                *(("informative",) if request.informative else ()),
            ),
            (self.pool.rows, self.pool.unit_keys, self.pool.truth),
            progress.note,
        )

    def settings(self) -> Iterator[Setting]:
        """All settings, in the order of the table."""
        request = self._request
        for policy in request.policies:
            certified = policy == "certified"
            for max_error in request.max_errors if certified else (None,):
                for seeds in request.seeds:
                    for rounds in request.rounds:
                        yield Setting(
                            features=self._name,
                            seeds=seeds,
                            rounds=rounds,
                            policy=policy,
                            max_error=max_error,
                            decisions=request.decisions if certified else None,
                        )

    def play(self, repetition: int) -> Iterator[tuple[Setting, PolicyOutcome, float]]:
        """The outcome and the seconds of every setting, from the cache or simulated now."""
        for seeds in self._request.seeds:
            settings = [setting for setting in self.settings() if setting.seeds == seeds]
            missing = [
                setting for setting in settings if self._cache.get(setting, repetition) is None
            ]
            if missing:
                self._simulate(missing, seeds, repetition)
            for setting in settings:
                cached = self._cache.get(setting, repetition)
                assert cached is not None
                yield setting, *cached

    def _simulate(self, settings: Sequence[Setting], seeds: int, repetition: int) -> None:
        """Train rounds on one draw of seeds, and cache the outcomes of these settings."""
        request, run = self._request, self._run
        start = time.perf_counter()
        # Every policy and promise gets the same seeds and rounds, so their outcomes compare.
        random_key = [self._settings.runtime.seed, repetition, seeds]
        seed = int(np.random.default_rng(random_key).integers(2**31))
        positions, answers = run.draw(
            seeds, request.flipped, informative=request.informative, seed=seed
        )
        rounds: list[KnownScores] = []
        if run.can_teach(positions, answers, seed=seed):
            rounds = run.rounds(positions, answers, rounds=max(request.rounds), seed=seed)
        training_seconds = time.perf_counter() - start
        for setting in settings:
            start = time.perf_counter()
            outcome = self._outcome(setting, rounds[: setting.rounds], seed)
            seconds = training_seconds + time.perf_counter() - start
            self._cache.put(setting, repetition, outcome, seconds)

    def _outcome(self, setting: Setting, rounds: list[KnownScores], seed: int) -> PolicyOutcome:
        promotion = self._settings.promotion
        if not rounds:
            return nothing_learned(setting.seeds, len(self.pool))
        if setting.max_error is None:
            raw = setting.policy == "raw"
            scores = [each.as_raw() if raw else each for each in rounds]
            return play_thresholds(scores, promotion)
        ready = ready_audit(
            rounds[-1].as_raw() if promotion.score == "raw" else rounds[-1],
            promotion.model_copy(update={"max_error": setting.max_error}),
            self._settings.audit,
            sample=None if setting.decisions is None else setting.decisions - setting.seeds,
            seed=seed,
        )
        return play_certified(ready, slips=self._request.slips, seed=seed)


def _feature_sets(workspace: Workspace, names: Sequence[str]) -> list[StoredRows]:
    if not names:
        current = current_features(workspace)
        if current is None:
            raise DataError(
                "There are no features of the encoder in the settings, so nothing can be"
                " simulated.",
                "Compute them with `curator encode`.",
            )
        return [current]
    records = list_feature_sets(workspace.catalogue)
    by_name = {record.name: record for record in records}
    if ALL_FEATURES in names:
        names = list(by_name)
    missing = [name for name in names if name not in by_name]
    if missing or not names:
        available = ", ".join(by_name) or "none yet"
        raise DataError(
            f"There are no features named {', '.join(missing) or 'anything'} in this workspace.",
            f"There are: {available}. `curator encode` computes those of the settings.",
        )
    return [open_rows(workspace, by_name[name]) for name in dict.fromkeys(names)]


def _labels_by_image(file: KnownLabels, truth: Path) -> dict[int, bool]:
    """Image id → whether it is positive. Raises DataError if rows contradict each other."""
    labels: dict[int, bool] = {}
    for line, image_id in file.images.items():
        label = file.labels[line]
        if label is Label.UNSURE:
            continue
        positive = label is Label.POSITIVE
        if labels.setdefault(image_id, positive) != positive:
            raise DataError(
                f"{truth}: line {line} gives an image the other class than an earlier line.",
                "Correct one of the two rows.",
            )
    if not labels:
        raise DataError(
            f"{truth}: none of its {len(file.answers):,} rows labels an image of this workspace.",
            "Rows need a path or sha256 of an image that was added, and one of the two classes.",
        )
    return labels


def _known_pool(
    catalogue: Catalogue, features: StoredRows, labels: dict[int, bool]
) -> tuple[KnownPool, int]:
    """The images with features and a known label, and the number of those without."""
    rows, units, truth, without_truth = [], [], [], 0
    for chunk in pool_chunks(catalogue, features.feature_set_id):
        usable = np.array([image_id in labels for image_id in chunk.image_ids.tolist()], np.bool_)
        usable &= chunk.feature_rows < features.rows
        without_truth += int((~usable).sum())
        rows.append(chunk.feature_rows[usable])
        units.append(chunk.unit_keys[usable])
        image_ids = chunk.image_ids[usable].tolist()
        truth.append(np.array([labels[image_id] for image_id in image_ids], np.bool_))
    if not sum(map(len, rows)):
        raise DataError(
            f"No image with a known label has features of {features.name}.",
            "Compute them with `curator encode`.",
        )
    pool = KnownPool(
        rows=np.concatenate(rows), unit_keys=np.concatenate(units), truth=np.concatenate(truth)
    )
    return pool, without_truth


def _check_request(request: SimulationRequest) -> None:
    for max_error in request.max_errors:
        Promise(max_error=max_error, risk=0.05)
    unknown = [policy for policy in request.policies if policy not in POLICIES]
    if unknown:
        raise UsageError(
            f"There is no policy `{unknown[0]}`.", f"There are: {', '.join(POLICIES)}."
        )
    if not request.seeds or min(request.seeds) < FEWEST_SEEDS:
        raise UsageError(
            f"{min(request.seeds, default=0)} seeds are too few to train on.",
            f"Use at least {FEWEST_SEEDS}: --seeds 100,200,400",
        )
    if (
        not request.rounds
        or min(request.rounds) < 1
        or request.repetitions < 1
        or not request.policies
    ):
        raise UsageError(
            "Nothing would be simulated.", "Ask for at least one policy, round and repetition."
        )
    for name, share in (("--flipped", request.flipped), ("--slips", request.slips)):
        if not 0.0 <= share < 0.5:
            raise UsageError(
                f"{name} {share:g} is not a valid share of wrong answers.",
                "Give a number from 0 to below 0.5; at 0.5 answers carry no information.",
            )
    if request.decisions is not None and request.decisions <= max(request.seeds):
        raise UsageError(
            f"{request.decisions:,} decisions leave none for the audit after"
            f" {max(request.seeds):,} seeds.",
            "Allow more with --decisions, or simulate fewer seeds.",
        )


def _check_pool(
    truth: BoolArray, request: SimulationRequest, file: Path, names: ClassesSettings
) -> None:
    if truth.all() or not truth.any():
        raise DataError(
            f"{file}: all {len(truth):,} images that can be simulated are"
            f" {names.positive if truth.all() else names.negative}.",
            "A simulation needs known labels of both classes.",
        )
    most = max(request.seeds)
    audit = (request.decisions or most) - most
    if most >= len(truth) / 2 or audit > (len(truth) - most) / 2:
        raise DataError(
            f"{file}: {len(truth):,} images with known labels are too few to simulate"
            f" {most:,} seeds{f' and an audit of {audit:,}' if audit else ''}.",
            "Seeds may be at most half of the images, and an audit half of what is left.",
        )


def charts_of(rows: Sequence[SimulationOutcome]) -> tuple[Chart, ...]:
    """Coverage and true error by human decisions, a line for each policy."""
    by_line: dict[str, list[SimulationOutcome]] = {}
    several = len({row.setting.features for row in rows}) > 1
    repeated = len({row.setting.rounds for row in rows}) > 1
    for row in rows:
        setting = row.setting
        promise = "" if setting.max_error is None else f" at {setting.max_error:.3g}"
        rounds = f", round {setting.rounds}" if repeated else ""
        features = f", {setting.features}" if several else ""
        by_line.setdefault(f"{setting.policy}{promise}{rounds}{features}", []).append(row)
    for members in by_line.values():
        members.sort(key=lambda row: row.decisions)
    return (
        Chart(
            title="Coverage (mean, 10% to 90%)",
            x_name="human decisions",
            y_name="share of the rest",
            lines=tuple(
                Line(
                    name=name,
                    x=tuple(row.decisions for row in members),
                    y=tuple(row.coverage for row in members),
                    low=tuple(row.low for row in members),
                    high=tuple(row.high for row in members),
                )
                for name, members in by_line.items()
            ),
        ),
        Chart(
            title="True error of promoted labels",
            x_name="human decisions",
            y_name="share wrong",
            lines=tuple(
                Line(
                    name=name,
                    x=tuple(row.decisions for row in members if row.error is not None),
                    y=tuple(row.error for row in members if row.error is not None),
                )
                for name, members in by_line.items()
            ),
        ),
    )
