"""A round: encode what is new, train, score, promote and revoke.

`run_round` reads a snapshot, computes with values, and commits. Nothing is visible before one
transaction at the end: a round that is killed did not happen, and running it again repeats no
finished encoding. A person's label that arrives meanwhile wins at commit.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.progress import SILENT, Progress
from curator.base.text import count
from curator.base.vocabulary import CurrentLabel, code_of
from curator.catalogue import rounds as catalogued
from curator.catalogue.audits import refuse_open_audit
from curator.catalogue.engine import Catalogue
from curator.catalogue.leases import lease
from curator.classifiers.devices import core_count, use_threads
from curator.classifiers.protocol import TrainingSummary
from curator.errors import DataError
from curator.intake.near_duplicates import regroup
from curator.rounds.commit import commit, refresh_scores
from curator.rounds.gates import label_distances
from curator.rounds.inputs import RoundInputs, prepare, read_inputs
from curator.rounds.neighbour_graph import pool_graph, uses_graph
from curator.rounds.pool_error import OtherThresholds, PoolError, ThresholdError, pool_error
from curator.rounds.promotion import (
    GateInputs,
    PoolLabel,
    RoundCounts,
    RoundDecisions,
    decide_pool,
    score_pool,
)
from curator.rounds.scene_copies import copies_warnings
from curator.rounds.score_quality import (
    ScoreQuality,
    Trend,
    as_stored,
    measure_quality,
    quality_labels,
)
from curator.rounds.source_shortcut import RoundWarning, shortcut_warnings
from curator.rounds.teacher import (
    PreviousRound,
    human_labels_digest,
    is_finished,
    load_teacher,
    training_inputs,
    withheld_digest,
)
from curator.rounds.threshold_error import (
    measure_threshold_error,
    other_thresholds,
    threshold_warning,
)
from curator.rounds.unlike_labels import unlike_warnings
from curator.statistics.work_left import Doubts, doubt_counts
from curator.workspace import Workspace

_CHECKPOINTS = "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport:
    """What one round did, or would do (`round_id` is None after a dry run).

    `quality` is what labels say of the scores, None where they are too few, `error` what is known
    of their error, `threshold_error` that beyond the thresholds, `other_thresholds` what looser
    ones would give; `warnings` are reasons not to trust them, `accepted` says that promotions were
    made in spite of one that holds them. `usual_distance` is the largest distance among labelled
    images, None where it is not known. `seconds` maps stages to durations.
    """

    round_id: int | None
    training: TrainingSummary
    counts: RoundCounts
    quality: ScoreQuality | None
    error: PoolError
    threshold_error: ThresholdError | None
    other_thresholds: tuple[OtherThresholds, ...]
    warnings: tuple[RoundWarning, ...]
    accepted: bool
    usual_distance: float | None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def coverage(self) -> float:
        """Promoted images / images without a human label."""
        counts = self.counts
        return counts.standing_promoted / counts.without_human if counts.without_human else 0.0

    @property
    def undecided(self) -> int:
        """Images that neither a person nor a round has labelled."""
        return self.counts.without_human - self.counts.standing_promoted

    @property
    def changed_share(self) -> float:
        """Promotions and revocations / images without a human label."""
        counts = self.counts
        changed = counts.promoted_positive + counts.promoted_negative + counts.revoked
        return changed / counts.without_human if counts.without_human else 0.0

    @property
    def threshold_warned(self) -> bool:
        """Whether labels show more errors beyond the thresholds than the user accepts."""
        return any(warning.kind == "error" for warning in self.warnings)

    @property
    def shows_no_gain(self) -> bool:
        """Whether labels compare this round with the last one, and show no gain from it."""
        last = self.quality.last if self.quality else None
        return last is not None and last.verdict is not Trend.BETTER

    def as_json(self) -> dict[str, Any]:
        """One round of `curator round --json`."""
        outcome = self.outcome()
        del outcome["usual_distance"]
        return {
            "round_id": self.round_id,
            **outcome,
            **asdict(self.counts),
            "promoted": self.counts.promoted_positive + self.counts.promoted_negative,
            "coverage": self.coverage,
            "undecided": self.undecided,
        }

    def outcome(self) -> dict[str, Any]:
        """What is stored with the round, as JSON."""
        noise = self.training.label_belief
        return {
            **asdict(self.training),
            "expected_errors": self.counts.expected_errors,
            "below_upper": self.counts.below_upper,
            "label_belief": noise.as_json() if noise else None,
            "judgement": as_stored(self.quality),
            "error": self.error.as_json(),
            "threshold_error": asdict(self.threshold_error) if self.threshold_error else None,
            "other_thresholds": [asdict(option) for option in self.other_thresholds],
            "alarms": [asdict(warning) for warning in self.warnings],
            "accepted_warning": self.accepted,
            "held_back": asdict(self.counts.held_back),
            "usual_distance": self.usual_distance,
            "seconds": self.seconds,
        }


class _Clock:
    """Adds up seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def run_rounds(
    workspace: Workspace,
    *,
    rounds: int = 1,
    until_stable: bool = False,
    dry_run: bool = False,
    accept_warning: bool = False,
    progress: Progress = SILENT,
) -> Iterator[RoundReport]:
    """Run rounds and yield the report of each as soon as it is committed.

    It ends after a round with a warning that labels show more errors than `promotion.max_error`,
    and when every image has a label. If that is so beforehand and neither labels nor settings have
    changed since the last round, no round runs. With `until_stable` it ends, too, when labels show
    no gain from a round, when a round changes no more than `rounds.stable_share` of the pool, and
    after `rounds.max_rounds` rounds. A dry run computes one round and stores nothing of it but the
    features. With `accept_warning`, a warning that would hold
    promotions back is recorded and does not. Raises DataError or LearnError if nothing can
    be trained, DataError while an audit is open, BusyError if another process runs a round here.
    """
    limits, previous = workspace.settings.rounds, None
    count = 1 if dry_run else limits.max_rounds if until_stable else rounds
    with lease(workspace.catalogue, "round"):
        if not dry_run:
            refuse_open_audit(workspace.catalogue, "a round")
            _refuse_finished(workspace.catalogue)
        # An `add` that was killed may have left images that no group knows yet.
        regroup(workspace, progress=progress)
        try:
            for number in range(1, count + 1):
                result = run_round(
                    workspace,
                    previous,
                    progress,
                    dry_run=dry_run,
                    accept_warning=accept_warning,
                    more_rounds=number < count,
                )
                if result is None:
                    return
                report, previous = result
                yield report
                if report.threshold_warned and not accept_warning:
                    return
                settled = report.shows_no_gain or report.changed_share <= limits.stable_share
                if until_stable and settled:
                    return
        finally:
            refresh_scores(workspace, progress)


def _refuse_finished(catalogue: Catalogue) -> None:
    """Raises DataError where a round would take back what `finish` gave to undecided images."""
    head = catalogued.head(catalogue)
    record = None if head is None else catalogued.get_round(catalogue, head)
    if record is not None and record.likelier is not None:
        raise DataError(
            f"Round {record.round_id} gave every undecided image its likelier class, and a round"
            " would take that back.",
            "`curator finish` goes on with new images and labels;"
            f" `curator rollback --to {record.parent_id}` returns to the state before.",
        )


def run_round(
    workspace: Workspace,
    previous: PreviousRound | None,
    progress: Progress,
    *,
    dry_run: bool,
    accept_warning: bool,
    more_rounds: bool,
) -> tuple[RoundReport, PreviousRound | None] | None:
    """One round, from labels to promotions. Nothing is visible before `commit`.

    `previous` is the round before it in the same command. None if every image has a label and
    another round would learn from the same labels. Who may judge what is explained in
    `classifiers/protocol.py`.
    """
    settings, clock, started_at = workspace.settings, _Clock(), datetime.now(UTC)
    seed = settings.runtime.seed

    # Read: encode or pack what is missing, then take one snapshot of labels, pool and rounds.
    with clock.stage("pack" if settings.classifier.kind == "finetune" else "encode"):
        classifier, images = prepare(workspace, progress)
    use_threads(settings.runtime.threads or core_count())
    with clock.stage("survey"):
        inputs = read_inputs(workspace, classifier, images)
    if not dry_run and is_finished(inputs, settings):
        return None
    conflicts = int((inputs.human.standing == code_of(CurrentLabel.CONFLICT)).sum())
    if conflicts:
        progress.note(
            f"Not trained on, as they or near-duplicates are labelled both ways:"
            f" {count(conflicts, 'image')}. Settle them: curator review conflict"
        )
    graph = None
    if not images.holds_pixels and uses_graph(settings):
        folder, threads = workspace.folder("graphs"), settings.runtime.threads
        with clock.stage("neighbours"):
            graph = pool_graph(folder, images, inputs.pool, threads, progress)
    checkpoints = workspace.folder("models") / _CHECKPOINTS

    # Compute: only values from here on.
    with clock.stage("survey"):
        training = training_inputs(
            inputs,
            graph.neighbours if graph and settings.classifier.neighbours else None,
            previous,
            folds=classifier.folds,
            seed=seed,
            more_rounds=more_rounds,
        )
        teacher = load_teacher(classifier, inputs, training, previous, seed=seed, progress=progress)
    with clock.stage("train"):
        trained = classifier.fit(training, teacher, progress, checkpoints=checkpoints)
    with clock.stage("score"):
        distances = label_distances(
            graph, inputs.human, settings.gates, seed, previous.distances if previous else None
        )
        gate = GateInputs()
        if distances:
            gate = distances.gate(inputs.pool.rows, settings.gates.distance)
        records = score_pool(trained, inputs.pool, training.slices, gate.distances, progress)
    with clock.stage("judge"):
        warnings: tuple[RoundWarning, ...] = ()
        if not images.holds_pixels:
            warnings = shortcut_warnings(
                records,
                inputs.human,
                images,
                inputs.pool.rows,
                inputs.pool_sample,
                inputs.source_names,
                settings.classes,
            )
            # What a class was learned by is doubtful already, and its labels are one cluster.
            if graph is not None and not warnings:
                warnings += copies_warnings(inputs.labels, images, graph, settings.classifier)
            if distances and gate.distances is not None and not warnings:
                warnings += unlike_warnings(records, inputs.human, distances, gate.distances)
        # Heads have calibration maps for labels; networks have one map for all.
        labels = quality_labels(records, inputs.human, shared_calibration=images.holds_pixels)
        threshold_error = measure_threshold_error(records, labels, inputs.last, settings.promotion)
        warnings += threshold_warning(threshold_error, settings.promotion)
        holding = any(warning.holds for warning in warnings)
        decisions = decide_pool(
            records, inputs.pool, settings.promotion, gate, hold=holding and not accept_warning
        )
        quality = measure_quality(
            records, inputs.human, labels, inputs.source_names, inputs.last, inputs.first,
            settings.promotion,
        )  # fmt: skip
        error = pool_error(
            trained.summary.estimate,
            inputs.human,
            on_pool=trained.summary.basis == "pool",
            shortcut=any(warning.kind == "shortcut" for warning in warnings),
        )
    report = RoundReport(
        round_id=None,
        training=trained.summary,
        counts=decisions.counts,
        quality=quality,
        error=error,
        threshold_error=threshold_error,
        other_thresholds=()
        if warnings
        else other_thresholds(records, labels, decisions, settings.promotion),
        warnings=warnings,
        accepted=holding and accept_warning,
        usual_distance=distances.usual if distances and np.isfinite(distances.usual) else None,
        seconds=clock.seconds,
    )
    if dry_run:
        return report, None

    # Commit.
    with clock.stage("commit"):
        model = trained.save()
        outcome = report.outcome() | {
            "withheld": withheld_digest(inputs.human),
            "human_labels": human_labels_digest(inputs.human),
            "doubts": _doubts(inputs, records, decisions),
        }
        record = commit(workspace, inputs, model, records, decisions, outcome, started_at, progress)
        # Not before the commit: a round that is interrupted continues from its checkpoints.
        shutil.rmtree(checkpoints, ignore_errors=True)
    report = replace(
        report,
        round_id=record.round_id,
        # The committed figures, because people may have labelled meanwhile.
        counts=replace(
            report.counts,
            promoted_positive=record.promoted_positive,
            promoted_negative=record.promoted_negative,
            revoked=record.revoked,
            standing_promoted=record.standing_promoted,
            without_human=record.without_human,
        ),
        seconds=dict(clock.seconds),
    )
    return report, PreviousRound(
        images=training.images,
        neighbours=training.neighbours,
        model_digest=record.model_digest,
        model=trained.as_previous(),
        distances=distances,
    )


def _doubts(
    inputs: RoundInputs, records: NDArray[Any], decisions: RoundDecisions
) -> dict[str, Any] | None:
    """What forecasts of the work that is left start from; they are made for features alone."""
    if inputs.images.holds_pixels:
        return None
    labels, free = inputs.labels, decisions.labels != PoolLabel.UNTOUCHABLE
    by_scores = labels.trains & ~(labels.representative | labels.sampled)
    return asdict(
        Doubts(
            labels=int(labels.trains.sum()),
            reviewed=int(by_scores.sum()),
            counts=doubt_counts(records["probability"][free]),
        )
    )
