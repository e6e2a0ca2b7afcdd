"""A round: encode what is new, train, score, promote and revoke.

Everything is computed first and staged where nobody sees it; one transaction at the end
makes it true. Killed before that, the round did not happen, and running it again repeats
no finished encoding. Read `_one_round` to see the whole way.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from curator.audits.audit import refuse_open_audit
from curator.base.files import replacing
from curator.base.progress import SILENT, Progress
from curator.catalogue import pool, rounds
from curator.catalogue.leases import lease
from curator.catalogue.rounds import NewRound, RoundRecord
from curator.classifiers.devices import choose_placement, core_count
from curator.classifiers.heads.frozen import (
    Basis,
    Plan,
    Scorer,
    TrainingLabels,
    survey,
    train,
    use_threads,
)
from curator.classifiers.heads.label_noise import LabelNoise
from curator.classifiers.heads.model import FrozenClassifier
from curator.classifiers.heads.pseudo_labels import PseudoRule
from curator.encoding.encode import ready_features
from curator.encoding.feature_set import FeatureSet
from curator.errors import DataError
from curator.intake.near_duplicates import regroup
from curator.rounds.gates import gates_of
from curator.rounds.judge import score_quality_of
from curator.rounds.labels import check_labels, training_labels
from curator.rounds.neighbour_graph import required_graph, smoothing_graph
from curator.rounds.promotion import HeldBack
from curator.rounds.score import RoundCounts, read_pool, score_pool
from curator.rounds.score_quality import ScoreQuality, as_kept
from curator.rounds.scored import refresh_scores
from curator.rounds.source_shortcut import RoundWarning
from curator.rounds.teacher import RoundMemory, teacher_of
from curator.rounds.warnings import warnings_of
from curator.settings.sections import Settings
from curator.statistics.metrics import ErrorEstimate
from curator.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport:
    """What one round did, or would do (`round_id` is None after a dry run).

    `estimate` is the out-of-fold error on human labels, `basis` says whose: `pool` for a
    random sample, `seeds` for labels that may not resemble the pool. `expected_errors` is
    the sum over promoted images of the probability that the label is wrong. `label_belief` is
    what frozen heads were fitted with, `judgement` is
    what labels say of the scores, None where they are too few; `alarms` is what speaks
    against believing them, `held_back` counts what gates kept from being promoted. `seconds`
    maps stages to durations.
    """

    round_id: int | None
    human_positive: int
    human_negative: int
    pseudo_positive: int
    pseudo_negative: int
    promoted_positive: int
    promoted_negative: int
    revoked: int
    standing_promoted: int
    without_human: int
    estimate: ErrorEstimate
    basis: Basis
    expected_errors: float
    label_belief: LabelNoise | None = None
    judgement: ScoreQuality | None = None
    alarms: tuple[RoundWarning, ...] = ()
    held_back: HeldBack = field(default_factory=HeldBack)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def coverage(self) -> float:
        """Promoted images / images without a human label."""
        return self.standing_promoted / self.without_human if self.without_human else 0.0

    @property
    def borderline(self) -> int:
        """Images that neither a person nor a round has labelled."""
        return self.without_human - self.standing_promoted

    @property
    def changed_share(self) -> float:
        """Promotions and revocations / images without a human label."""
        changed = self.promoted_positive + self.promoted_negative + self.revoked
        return changed / self.without_human if self.without_human else 0.0


class Summary(Protocol):
    """What either kind says of its training: counts, and the error where it was not taught."""

    @property
    def human_positive(self) -> int: ...
    @property
    def human_negative(self) -> int: ...
    @property
    def pseudo_positive(self) -> int: ...
    @property
    def pseudo_negative(self) -> int: ...
    @property
    def estimate(self) -> ErrorEstimate: ...
    @property
    def basis(self) -> Basis: ...


class _Clock:
    """Adds up seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block under `name`."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def run_rounds(
    workspace: Workspace,
    *,
    rounds: int = 1,
    until_stable: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Iterator[RoundReport]:
    """Run rounds and yield the report of each as soon as it is committed.

    With `until_stable` it ends when a round changes no more than `rounds.stable_share` of
    the pool, at the latest after `rounds.max_rounds` rounds. A dry run computes one round
    and keeps nothing of it but the features. Raises DataError or LearnError if nothing can
    be trained, DataError while an audit is open, BusyError if another process runs a round here.
    """
    most = workspace.settings.rounds.max_rounds if until_stable else rounds
    with lease(workspace.catalogue, "round"):
        if not dry_run:
            refuse_open_audit(workspace, "a round")
        # An `add` that was killed may have left images that no group knows yet.
        regroup(workspace, progress=progress)
        most = 1 if dry_run else most
        memory = RoundMemory(most)
        try:
            for _ in range(most):
                report = _one_round(workspace, dry_run, memory, progress)
                yield report
                if until_stable and report.changed_share <= workspace.settings.rounds.stable_share:
                    return
        finally:
            refresh_scores(workspace, progress)


def _one_round(
    workspace: Workspace, dry_run: bool, memory: RoundMemory, progress: Progress
) -> RoundReport:
    clock, started_at = _Clock(), datetime.now(UTC)
    parent_id = rounds.head(workspace.catalogue)
    finetunes = workspace.settings.classifier.kind == "finetune"
    staged = (
        _staged_finetuned(workspace, parent_id, clock, progress)
        if finetunes
        else _staged_frozen(workspace, parent_id, memory, clock, progress)
    )
    with clock.stage("judge"):
        judgement = score_quality_of(
            workspace, parent_id, staged.feature_set_id, staged.score_digest
        )
        alarms = staged.alarms()
    if dry_run:
        rounds.discard_staging(workspace.catalogue, staged.token)
        return _report(staged, judgement, alarms, clock, None)
    with clock.stage("commit"):
        new = NewRound(
            parent_id=parent_id,
            seed=workspace.settings.runtime.seed,
            settings=workspace.settings.model_dump(mode="json"),
            outcome=_outcome(staged, judgement, alarms, clock),
            started_at=started_at,
            feature_set_id=staged.feature_set_id,
            model_digest=staged.keep_model(),
            score_digest=staged.score_digest,
        )
        record = rounds.commit_round(workspace.catalogue, staged.token, new)
    return _report(staged, judgement, alarms, clock, record)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged:
    """A round that is computed and staged, but not committed, whatever its kind."""

    trained: Summary
    tally: RoundCounts
    token: str
    feature_set_id: int
    score_digest: str
    keep_model: Callable[[], str]
    alarms: Callable[[], tuple[RoundWarning, ...]]
    label_belief: LabelNoise | None = None
    usual_distance: float | None = None


def _staged_frozen(
    workspace: Workspace,
    parent_id: int | None,
    memory: RoundMemory,
    clock: _Clock,
    progress: Progress,
) -> _Staged:
    with clock.stage("encode"):
        features = ready_features(workspace, progress)
    use_threads(workspace.settings.runtime.threads or core_count())
    plan = plan_of(workspace.settings)
    with clock.stage("survey"):
        labels = _labels(workspace, features, plan)
        pool = read_pool(workspace, features.feature_set_id)
        rows, _ = pool.by_rows()
        labels = labels.among(rows)
    with clock.stage("neighbours"):
        found = required_graph(workspace, features, pool, progress)
        around = smoothing_graph(workspace, found)
    with clock.stage("survey"):
        view = memory.view(features, rows, around)
        teacher = teacher_of(workspace, parent_id, view, plan, memory, progress)
        slices = pool.slices(plan.heads, workspace.settings.runtime.seed)
        surveyed = survey(slices, view.features, teacher, plan, memory.scale_of(view))
    with clock.stage("train"), progress.stage("train", pool.images) as stage:
        described = _described(workspace, features)
        trained = train(labels, view.features, surveyed, plan, described, around, stage.advance)
    token = rounds.begin_staging(workspace.catalogue)
    with clock.stage("score"):
        score = Scorer(trained, surveyed, plan).score
        gates = gates_of(workspace, features, found, rows, memory.reach)
        tally, score_digest = score_pool(
            workspace, pool, score, token, progress, folds=plan.heads, gates=gates
        )
    memory.keep(view, trained, gates.reach)
    return _Staged(
        trained=trained,
        tally=tally,
        token=token,
        feature_set_id=features.feature_set_id,
        score_digest=score_digest,
        keep_model=partial(_keep_model, workspace, trained.classifier),
        alarms=partial(warnings_of, workspace, features, score_digest),
        label_belief=trained.reading.told(chosen=plan.regularization is None),
        usual_distance=gates.usual_distance,
    )


def _staged_finetuned(
    workspace: Workspace, parent_id: int | None, clock: _Clock, progress: Progress
) -> _Staged:
    from curator.rounds.networks import keep_networks, one_finetuned_round

    use_threads(workspace.settings.runtime.threads or core_count())
    found = one_finetuned_round(workspace, parent_id, clock.stage, progress)
    return _Staged(
        trained=found.trained,
        tally=found.tally,
        token=found.token,
        feature_set_id=found.feature_set_id,
        score_digest=found.score_digest,
        keep_model=partial(keep_networks, workspace, found.trained.classifier),
        # Whether a network learned the source cannot be asked of pixels this way.
        alarms=tuple,
    )


def plan_of(settings: Settings) -> Plan:
    """What these settings train a round of the frozen kind with."""
    chosen, bars = settings.classifier, settings.promotion
    rule = PseudoRule(above=bars.promote_above, below=bars.promote_below, limit=chosen.pseudo_limit)
    return Plan(
        heads=chosen.folds,
        regularization=None if chosen.regularization == "auto" else chosen.regularization,
        doubt=chosen.doubt,
        balanced=chosen.class_weight == "balanced",
        pseudo=rule if chosen.pseudo_labels else None,
        pseudo_share=None if chosen.pseudo_weight == "auto" else chosen.pseudo_weight,
        neighbour_share=chosen.neighbour_share,
        device=choose_placement(device=settings.runtime.device).device,
    )


def _labels(workspace: Workspace, features: FeatureSet, plan: Plan) -> TrainingLabels:
    """What people said; raises DataError, saying what to do, if nothing can be learned from it."""
    human = pool.human_labels(workspace.catalogue, features.feature_set_id)
    size = pool.pool_size(workspace.catalogue)
    labels = training_labels(human, plan.heads, workspace.settings.runtime.seed)
    check_labels(labels, plan.heads, workspace.settings.classes)
    if len(human.image_ids) == size:
        raise DataError(
            f"People have labelled all {size:,} images; there is nothing left to promote.",
            "Write the manifest with `curator export clean.csv`, or add more images.",
        )
    return labels


def _described(workspace: Workspace, features: FeatureSet) -> dict[str, Any]:
    """What somebody who finds the model file needs to know about it."""
    settings = workspace.settings
    return {
        "encoder": features.fingerprint,
        "positive": settings.classes.positive,
        "negative": settings.classes.negative,
        "folds": settings.classifier.folds,
        "seed": settings.runtime.seed,
    }


def _keep_model(workspace: Workspace, classifier: FrozenClassifier) -> str:
    content = classifier.to_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with replacing(workspace.folder("models") / f"{digest}.safetensors") as stream:
        stream.write(content)
    return digest


def _outcome(
    staged: _Staged, judgement: ScoreQuality | None, alarms: tuple[RoundWarning, ...], clock: _Clock
) -> dict[str, Any]:
    trained, tally = staged.trained, staged.tally
    return {
        "human_positive": trained.human_positive,
        "human_negative": trained.human_negative,
        "pseudo_positive": trained.pseudo_positive,
        "pseudo_negative": trained.pseudo_negative,
        "estimate": asdict(trained.estimate),
        "basis": trained.basis,
        "expected_errors": tally.expected_errors,
        "label_belief": asdict(staged.label_belief) if staged.label_belief else None,
        "judgement": as_kept(judgement),
        "alarms": [asdict(alarm) for alarm in alarms],
        "held_back": asdict(tally.held_back),
        "usual_distance": staged.usual_distance,
        "seconds": clock.seconds,
    }


def _report(
    staged: _Staged,
    judgement: ScoreQuality | None,
    alarms: tuple[RoundWarning, ...],
    clock: _Clock,
    record: RoundRecord | None,
) -> RoundReport:
    """The committed figures where there are any: people may have labelled meanwhile."""
    trained, tally = staged.trained, staged.tally
    counted = record or tally
    return RoundReport(
        round_id=record.round_id if record else None,
        human_positive=trained.human_positive,
        human_negative=trained.human_negative,
        pseudo_positive=trained.pseudo_positive,
        pseudo_negative=trained.pseudo_negative,
        promoted_positive=counted.promoted_positive,
        promoted_negative=counted.promoted_negative,
        revoked=counted.revoked,
        standing_promoted=counted.standing_promoted,
        without_human=counted.without_human,
        estimate=trained.estimate,
        basis=trained.basis,
        expected_errors=tally.expected_errors,
        label_belief=staged.label_belief,
        judgement=judgement,
        alarms=alarms,
        held_back=tally.held_back,
        seconds=dict(clock.seconds),
    )
