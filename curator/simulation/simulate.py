"""The whole process played with labels that are known, to choose settings before people decide.

Seeds are drawn from the known labels, rounds trained, thresholds applied, audits planned,
drawn, answered and closed, over and over, by the functions that rounds and certificates
call. All of it happens on arrays in memory: no label, score or promotion of the workspace
is touched. What is finished is kept in the reports folder, so an interrupted simulation
goes on where it was, and one with more repetitions plays only those that are missing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.audits.plan import Promise
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import Label
from curator.catalogue.features import list_feature_sets
from curator.catalogue.pool import pool_chunks
from curator.charts.lines import Chart, Line, draw_charts
from curator.classifiers.devices import choose_placement, core_count, use_threads
from curator.classifiers.heads.frozen import FrozenHeads
from curator.encoding.feature_set import FeatureSet, current_features, open_features
from curator.errors import DataError, UsageError
from curator.intake.answers import KnownLabels, read_known_labels
from curator.rounds.labels import read_pool
from curator.rounds.neighbour_graph import pool_graph, uses_graph
from curator.simulation.cache import RunCache
from curator.simulation.policies import (
    AuditRules,
    KnownScores,
    PolicyOutcome,
    nothing_learned,
    play_certified,
    play_thresholds,
    ready_audit,
)
from curator.simulation.replay import FeatureSpace, KnownPool, SimulationRun
from curator.simulation.summary import Setting, SimulationOutcome, advise, summarise
from curator.workspace import Workspace

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

POLICIES = ("raw", "calibrated", "certified")
ALL_FEATURES = "all"
FEWEST_SEEDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRequest:
    """What to play: every combination of these, `repetitions` times.

    `decisions` are all that people may make, seeds and audit together; None lets each audit
    take as many as are worth it. `flipped` is the share of seed labels that are wrong,
    `slips` the share of audit answers. With `informative` the second half of the seeds is
    drawn as the queue of that name does. `features` are names of feature sets, `all`, or
    nothing for those of the settings.
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
    """What came of it.

    `images` were played with, `positive` of them positive. `unknown` rows of the file are
    about images that the workspace does not have, `unsure` rows name no class, and
    `without_truth` images of the workspace are not in the file: all left out. `finished`
    is False if it was interrupted.
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
    wish: SimulationRequest | None = None,
    *,
    progress: Progress = SILENT,
) -> Simulation:
    """Play every combination of a wish on the images of `truth`, a CSV file of known labels.

    Raises UsageError for a wish that makes no sense, DataError for one that these images
    cannot fulfil or if there are no features to play with, LearnError if these are broken.
    Interrupted by the keyboard, it returns what is finished, if anything is.
    """
    wish = wish or SimulationRequest()
    _check(wish)
    given = read_known_labels(workspace, truth)
    known = _known_images(given, truth)
    use_threads(workspace.settings.runtime.threads or core_count())
    stages = [
        _Stage(workspace, features, known, wish, truth, progress)
        for features in _feature_sets(workspace, wish.features)
    ]
    played = {setting: list[PolicyOutcome]() for stage in stages for setting in stage.settings()}
    seconds = {setting: list[float]() for setting in played}
    finished = True
    try:
        with progress.stage("simulate", wish.repetitions * len(stages), "repetitions") as bar:
            for repetition in range(wish.repetitions):
                for stage in stages:
                    for setting, one, took in stage.play(repetition):
                        played[setting].append(one)
                        seconds[setting].append(took)
                    bar.advance()
    except KeyboardInterrupt:
        finished = False
        if not all(played.values()):
            raise
    rows = tuple(summarise(setting, played[setting], seconds[setting]) for setting in played)
    charts = charts_of(rows)
    return Simulation(
        images=len(stages[0].pool),
        positive=int(stages[0].pool.truth.sum()),
        unknown=len(given.answers) - len(given.images),
        unsure=sum(label is Label.UNSURE for label in given.labels.values()),
        without_truth=stages[0].without_truth,
        rows=rows,
        advice=advise(rows, risk=1.0 - workspace.settings.promotion.confidence),
        plot=draw_charts(workspace.folder("reports") / "simulate.png", charts),
        charts=charts,
        finished=finished,
    )


class _Stage:
    """One set of features, on which every setting of a wish is played."""

    def __init__(
        self,
        workspace: Workspace,
        features: FeatureSet,
        known: dict[int, bool],
        wish: SimulationRequest,
        truth: Path,
        progress: Progress,
    ) -> None:
        self.name = features.name
        self.pool, self.without_truth = _known_pool(workspace, features, known)
        self._wish, self._workspace = wish, workspace
        _check_pool(self.pool.truth, wish, truth, workspace)
        settings = workspace.settings
        device = choose_placement(device=settings.runtime.device).device
        pool = read_pool(workspace.catalogue, features.feature_set_id)
        graph = None
        if uses_graph(settings):
            folder, threads = workspace.folder("graphs"), settings.runtime.threads
            graph = pool_graph(folder, features, pool, threads, progress)
        smoothed = graph is not None and settings.classifier.neighbour_share > 0
        self._rehearsal = SimulationRun(
            self.pool,
            features,
            FrozenHeads(settings, device),
            neighbours=graph.neighbours if graph and smoothed else None,
            space=FeatureSpace(rows=graph.neighbours.rows, vectors=graph.vectors)
            if graph
            else None,
            distance=workspace.settings.gates.distance,
        )
        self._kept = RunCache(
            workspace.folder("reports") / "simulations",
            (
                features.fingerprint,
                graph and graph.neighbours.digest,
                device,
                *(
                    section.model_dump(mode="json")
                    for section in (
                        workspace.settings.classifier,
                        workspace.settings.promotion,
                        workspace.settings.gates,
                        workspace.settings.audit,
                    )
                ),
                (wish.flipped, wish.slips, workspace.settings.runtime.seed),
                *(("informative",) if wish.informative else ()),
            ),
            (self.pool.rows, self.pool.unit_keys, self.pool.truth),
        )

    def settings(self) -> Iterator[Setting]:
        """All settings to be played, in the order of the table."""
        wish = self._wish
        for policy in wish.policies:
            for max_error in wish.max_errors if policy == "certified" else (None,):
                for seeds in wish.seeds:
                    for rounds in wish.rounds:
                        yield Setting(
                            features=self.name,
                            seeds=seeds,
                            rounds=rounds,
                            policy=policy,
                            max_error=max_error,
                            decisions=wish.decisions if policy == "certified" else None,
                        )

    def play(self, repetition: int) -> Iterator[tuple[Setting, PolicyOutcome, float]]:
        """Every setting once; what was played before is read, not played again."""
        for seeds in self._wish.seeds:
            settings = [one for one in self.settings() if one.seeds == seeds]
            missing = [one for one in settings if self._kept.get(one, repetition) is None]
            if missing:
                self._play(missing, seeds, repetition)
            for one in settings:
                found = self._kept.get(one, repetition)
                assert found is not None
                yield one, *found

    def _play(self, settings: Sequence[Setting], seeds: int, repetition: int) -> None:
        start = time.perf_counter()
        chance = [self._workspace.settings.runtime.seed, repetition, seeds]
        seed = int(np.random.default_rng(chance).integers(2**31))
        places, said = self._rehearsal.draw(
            seeds, self._wish.flipped, informative=self._wish.informative, seed=seed
        )
        found: list[KnownScores] = []
        if self._rehearsal.can_teach(places, said, seed=seed):
            most = max(self._wish.rounds)
            found = self._rehearsal.rounds(places, said, rounds=most, seed=seed)
        scored = time.perf_counter() - start
        for setting in settings:
            begun = time.perf_counter()
            one = self._one(setting, found[: setting.rounds], seed)
            self._kept.put(setting, repetition, one, scored + time.perf_counter() - begun)

    def _one(self, setting: Setting, found: list[KnownScores], seed: int) -> PolicyOutcome:
        settings = self._workspace.settings
        if not found:
            return nothing_learned(setting.seeds, len(self.pool))
        if setting.policy != "certified":
            raw = setting.policy == "raw"
            return play_thresholds(
                [one.as_raw() if raw else one for one in found], settings.promotion
            )
        sample = None if setting.decisions is None else setting.decisions - setting.seeds
        assert setting.max_error is not None
        scores = found[-1].as_raw() if settings.promotion.score == "raw" else found[-1]
        rules = AuditRules(
            max_error=setting.max_error,
            confidence=settings.promotion.confidence,
            reserve=settings.audit.reserve,
            balanced=settings.audit.ranking == "balanced",
            slips=settings.audit.slips,
            overlooked=settings.audit.overlooked,
        )
        ready = ready_audit(scores, rules, sample=sample, seed=seed)
        return next(play_certified(ready, slips=self._wish.slips, seed=seed))


def _feature_sets(workspace: Workspace, names: Sequence[str]) -> list[FeatureSet]:
    if not names:
        current = current_features(workspace)
        if current is None:
            raise DataError(
                "There are no features of the encoder in the settings to play with.",
                "Compute them with `curator encode`.",
            )
        return [current]
    records = list_feature_sets(workspace.catalogue)
    known = {record.name: record for record in records}
    if ALL_FEATURES in names:
        names = list(known)
    missing = [name for name in names if name not in known]
    if missing or not names:
        there = ", ".join(known) or "none yet"
        raise DataError(
            f"There are no features named {', '.join(missing) or 'anything'} in this workspace.",
            f"There are: {there}. `curator encode` computes those of the settings.",
        )
    return [open_features(workspace, known[name]) for name in dict.fromkeys(names)]


def _known_images(given: KnownLabels, truth: Path) -> dict[int, bool]:
    """Image id → whether it is positive. Raises DataError if rows contradict each other."""
    known: dict[int, bool] = {}
    for line, image in given.images.items():
        label = given.labels[line]
        if label is Label.UNSURE:
            continue
        positive = label is Label.POSITIVE
        if known.setdefault(image, positive) != positive:
            raise DataError(
                f"{truth}: line {line} labels an image one way that an earlier line labels the"
                " other way.",
                "Mend one of the two rows.",
            )
    if not known:
        raise DataError(
            f"{truth}: none of its {len(given.answers):,} rows labels an image of this workspace.",
            "Rows need a path or sha256 of an image that was added, and one of the two classes.",
        )
    return known


def _known_pool(
    workspace: Workspace, features: FeatureSet, known: dict[int, bool]
) -> tuple[KnownPool, int]:
    """The images with features and a known label, and how many of the workspace have none."""
    rows, units, truth, without = [], [], [], 0
    for chunk in pool_chunks(workspace.catalogue, features.feature_set_id):
        there = np.array([int(image) in known for image in chunk.image_ids], dtype=np.bool_)
        there &= chunk.feature_rows < features.rows
        without += int((~there).sum())
        rows.append(chunk.feature_rows[there])
        units.append(chunk.unit_keys[there])
        truth.append(np.array([known[int(i)] for i in chunk.image_ids[there]], dtype=np.bool_))
    if not sum(map(len, rows)):
        raise DataError(
            f"No image with a known label has features of {features.name}.",
            "Compute them with `curator encode`.",
        )
    pool = KnownPool(
        rows=np.concatenate(rows), unit_keys=np.concatenate(units), truth=np.concatenate(truth)
    )
    return pool, without


def _check(wish: SimulationRequest) -> None:
    for max_error in wish.max_errors:
        Promise(max_error=max_error, risk=0.05)
    unknown = [policy for policy in wish.policies if policy not in POLICIES]
    if unknown:
        raise UsageError(
            f"There is no policy `{unknown[0]}` to play.", f"There are: {', '.join(POLICIES)}."
        )
    if not wish.seeds or min(wish.seeds) < FEWEST_SEEDS:
        raise UsageError(
            f"{min(wish.seeds, default=0)} seeds cannot teach anything.",
            f"Play with at least {FEWEST_SEEDS}: --seeds 100,200,400",
        )
    if not wish.rounds or min(wish.rounds) < 1 or wish.repetitions < 1 or not wish.policies:
        raise UsageError(
            "Nothing would be played.", "Ask for at least one policy, round and repetition."
        )
    for name, share in (("--flipped", wish.flipped), ("--slips", wish.slips)):
        if not 0.0 <= share < 0.5:
            raise UsageError(
                f"{name} {share:g} is not a share of wrong answers that can be played.",
                "Give a number from 0 to below 0.5: at one half, answers say nothing.",
            )
    if wish.decisions is not None and wish.decisions <= max(wish.seeds):
        raise UsageError(
            f"{wish.decisions:,} decisions leave none for the audit after"
            f" {max(wish.seeds):,} seeds.",
            "Allow more with --decisions, or play with fewer seeds.",
        )


def _check_pool(truth: Flags, wish: SimulationRequest, file: Path, workspace: Workspace) -> None:
    names = workspace.settings.classes
    if truth.all() or not truth.any():
        raise DataError(
            f"{file}: all {len(truth):,} images that can be played with are"
            f" {names.positive if truth.all() else names.negative}.",
            "A simulation needs known labels of both classes.",
        )
    most = max(wish.seeds)
    audit = (wish.decisions or most) - most
    if most >= len(truth) / 2 or audit > (len(truth) - most) / 2:
        raise DataError(
            f"{file}: {len(truth):,} images with known labels are too few to play with"
            f" {most:,} seeds{f' and an audit of {audit:,}' if audit else ''}.",
            "Seeds may be at most half of the images, and an audit half of what is left.",
        )


def charts_of(rows: Sequence[SimulationOutcome]) -> tuple[Chart, ...]:
    """Coverage, and true error, against all that people decide."""
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
            title="True error of what was promoted",
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
