"""The story of a workspace, collected from one unchanging view of its catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from curator.audits.certificate import certificate_sentence, stale_sentence
from curator.base.progress import SILENT, Progress
from curator.base.text import count, percent, printable
from curator.base.vocabulary import CurrentLabel, LocationState, Origin
from curator.catalogue import audits, event_reads, features
from curator.catalogue.current_labels.arrays import PeopleEvents, current_labels_of_people
from curator.catalogue.rounds import RoundRecord
from curator.classifiers.heads.label_noise import LabelNoise
from curator.export.sidecar import library_versions
from curator.report.data import (
    AuditFacts,
    CertificateFacts,
    QuarantinedFile,
    ReportData,
    RoundFacts,
    SettingFacts,
    SourceFacts,
)
from curator.report.people import pool_over_rounds, work_of
from curator.report.pictures import chosen_strips, pictured
from curator.report.scores import scores_of, selection_of
from curator.report.sentences import (
    PROVISIONAL,
    coverage_sentence,
    decisions_sentence,
    error_sentence,
    label_noise_sentences,
    scores_sentence,
    share_sentences,
    source_sentences,
)
from curator.report.status import Status, status
from curator.rounds.score_quality import ScoreQuality, from_kept
from curator.rounds.score_quality import advice as judged_advice
from curator.settings.file import as_toml, setting_keys, value_of
from curator.settings.sections import Settings
from curator.statistics.metrics import ErrorEstimate
from curator.workspace import Workspace

QUARANTINED_SHOWN = 24

_CLASSES = (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)


def collect_report(workspace: Workspace, progress: Progress = SILENT) -> ReportData:
    """Everything that a report tells. Nothing is written, and no writer has to wait."""
    with workspace.catalogue.snapshot() as catalogue:
        frozen = replace(workspace, catalogue=catalogue)
        found = status(frozen)
        with progress.stage("collect", None, "facts"):
            people = event_reads.people_events(catalogue)
            story = _told(frozen, found, people)
        wanted = chosen_strips(frozen, found.rounds)
        images = sum(len(one.image_ids) for one in wanted)
        with progress.stage("pictures", images) as stage:
            return replace(story, strips=pictured(frozen, wanted, stage))


def _told(workspace: Workspace, found: Status, people: PeopleEvents) -> ReportData:
    catalogue, classes, counts = workspace.catalogue, workspace.settings.classes, found.counts
    human_ids = current_labels_of_people(people)[0]
    scores, scores_missing = scores_of(workspace, found.rounds, human_ids)
    selection, selection_missing = selection_of(workspace, found.head, human_ids)
    judgement = _judgement(found.head)
    certificates = tuple(_certificates(found))
    return ReportData(
        workspace=printable(workspace.root.resolve().name),
        positive=classes.positive,
        negative=classes.negative,
        changed_at=event_reads.last_change(catalogue),
        images=counts.images,
        usable=counts.usable,
        labelled=counts.usable - counts.without_human,
        promoted=counts.promoted,
        unlabelled=counts.unlabelled,
        coverage=counts.coverage,
        asked=tuple(_asked(found)),
        came_out=tuple(_came_out(found)),
        alarms=_alarms(found.head),
        next=found.advice(),
        pool=pool_over_rounds(catalogue, found.rounds, people, counts),
        rounds=tuple(_round(one) for one in found.rounds),
        scores=scores,
        scores_missing=scores_missing,
        selection=selection,
        selection_missing=selection_missing,
        judged=tuple(_judged(found.head, judgement, classes.positive)),
        certificates=certificates,
        no_certificate=_no_certificate(found),
        audits=tuple(_audits(workspace)),
        work=work_of(people),
        sources=tuple(_sources(workspace, found, judgement)),
        quarantine={str(reason): n for reason, n in counts.quarantined.items() if n},
        quarantined_files=tuple(
            QuarantinedFile(
                name=printable(one.path),
                source=one.source,
                reason=str(one.reason),
                detail=one.detail,
            )
            for one in event_reads.unusable(catalogue, size=QUARANTINED_SHOWN)
        ),
        strips=(),
        settings=tuple(_settings(workspace)),
        versions=library_versions(),
        model=_model(workspace, found.head),
    )


def _asked(found: Status) -> Iterator[str]:
    classes, bars = found.settings.classes, found.settings.promotion
    yield (
        f"Sort {count(found.counts.usable, 'image')} into `{classes.positive}` and"
        f" `{classes.negative}`."
    )
    score = "P" if bars.score == "calibrated" else "the raw P"
    gives = (
        f"A round gives an image the label `{classes.positive}` when {score}({classes.positive})"
        f" is above {bars.promote_above:g}, `{classes.negative}` when it is below"
        f" {bars.promote_below:g}"
    )
    if bars.policy == "certified":
        yield f"{gives}; until an audit, that is provisional."
        yield (
            f"Promised shall be that at most {bars.max_error:.4g} of what stands promoted is"
            f" wrong, at a confidence of {bars.confidence:.4g} over all audits together."
        )
    else:
        yield f"{gives}. No error is promised beforehand."


def _came_out(found: Status) -> Iterator[str]:
    counts, head = found.counts, found.head
    if not counts.usable:
        yield "There is no image yet that can be used."
        return
    labelled = counts.usable - counts.without_human
    yield (
        f"People labelled {count(labelled, 'image')}: "
        f"{decisions_sentence(found.decisions, found.minutes)}."
    )
    if head is None:
        yield "No round stands: everything else is unlabelled."
        return
    told = coverage_sentence(counts.promoted, counts.without_human, counts.coverage)
    yield f"Coverage is {told}; {count(counts.unlabelled, 'image')} stay unlabelled."
    expected = head.outcome.get("expected_errors")
    if expected is not None and head.standing_promoted:
        yield (
            f"By the scores' own doubts about {expected:,.0f} of the"
            f" {head.standing_promoted:,} labels that stood promoted after round {head.round_id}"
            f" are wrong ({percent(expected / head.standing_promoted, 2)})."
        )
    estimate = head.outcome.get("estimate")
    if estimate is not None:
        yield error_sentence(ErrorEstimate(**estimate), on_pool=head.outcome.get("basis") == "pool")
    belief = head.outcome.get("label_belief")
    if belief is not None:
        yield from label_noise_sentences(LabelNoise(**belief))


def _no_certificate(found: Status) -> str:
    """Why no certificate holds for what stands promoted; empty if one does."""
    one = found.certificate
    if one is not None:
        return "" if one.stale is None else f"The certificate is stale: {stale_sentence(one)}."
    if not found.counts.promoted:
        return "There is no certificate, because nothing stands promoted."
    if found.audit is not None:
        return (
            f"There is no certificate yet: audit {found.audit.audit_id} is open, with"
            f" {found.audit.answered:,} of {found.audit.sample:,} images answered."
        )
    return (
        f"What rounds promoted is {PROVISIONAL}. An audit would measure it: `curator audit`,"
        " then `curator certify`."
    )


def _certificates(found: Status) -> Iterator[CertificateFacts]:
    promoted = found.certificate
    for one in found.certificates:
        yield CertificateFacts(
            sentence=certificate_sentence(one, found.settings.classes),
            valid=one.stale is None,
            state="valid" if one.stale is None else f"stale: {stale_sentence(one)}",
            attempt=one.attempt,
            frame=one.frame_digest,
            issued_at=one.issued_at,
            certified=one.certified,
            bound=one.bound,
            about_promoted=promoted is not None and one.kind is promoted.kind,
        )


def _audits(workspace: Workspace) -> Iterator[AuditFacts]:
    for one in audits.list_audits(workspace.catalogue):
        yield AuditFacts(
            audit=one.audit_id,
            kind=str(one.kind),
            scope=workspace.settings.classes.name_of(str(one.scope)),
            state=str(one.state),
            sample=one.sample,
            answered=one.answered,
            opened_at=one.opened_at,
        )


def _judgement(head: RoundRecord | None) -> ScoreQuality | None:
    return None if head is None else from_kept(head.outcome.get("judgement"))


def _judged(
    head: RoundRecord | None, judgement: ScoreQuality | None, positive: str
) -> Iterator[str]:
    if head is None:
        yield "No round stands, so there are no scores to judge."
    elif judgement is None:
        yield (
            f"Too few labels can judge the scores of round {head.round_id}: at least 20 of both"
            " classes are needed that had no part in them."
        )
    else:
        yield f"Scores of round {head.round_id}: {scores_sentence(judgement)}."
        yield from share_sentences(judgement, positive)
        yield from source_sentences(judgement, positive)
        yield judged_advice(judgement)


def _alarms(head: RoundRecord | None) -> tuple[str, ...]:
    kept: Sequence[Any] = [] if head is None else head.outcome.get("alarms", [])
    return tuple(f"{one['problem']} {one['cure']}" for one in kept)


def _round(one: RoundRecord) -> RoundFacts:
    return RoundFacts(
        round=one.round_id,
        kind=one.kind,
        status=str(one.status),
        promoted_positive=one.promoted_positive,
        promoted_negative=one.promoted_negative,
        revoked=one.revoked,
        standing_promoted=one.standing_promoted,
        coverage=one.coverage,
        seconds=one.seconds,
        finished_at=one.finished_at,
        judgement=_judgement(one),
        alarms=_alarms(one),
    )


def _sources(
    workspace: Workspace, found: Status, judgement: ScoreQuality | None
) -> Iterator[SourceFacts]:
    labels = event_reads.labels_by_source(workspace.catalogue)
    judged = {one.source: one for one in judgement.sources} if judgement else {}
    for one in found.sources:
        mine, fares = labels.get(one.name, {}), judged.get(one.name)
        people = {str(s): 0 for s in CurrentLabel}
        promoted = {str(s): 0 for s in _CLASSES}
        for (standing, origin), number in mine.items():
            if standing is not None:
                kind = promoted if origin is Origin.PROMOTED else people
                kind[str(standing)] += number
        yield SourceFacts(
            name=one.name,
            licence=one.licence,
            attribution=one.attribution,
            files=sum(n for s, n in one.locations.items() if s is not LocationState.CHANGED),
            missing=one.locations.get(LocationState.MISSING, 0),
            people=people,
            promoted=promoted,
            unlabelled=mine.get((None, None), 0),
            judged=0 if fares is None else fares.labels,
            expected=None if fares is None else fares.expected_positive,
            found=None if fares is None else fares.positive,
            differs=fares is not None and fares.differs,
        )


def _settings(workspace: Workspace) -> Iterator[SettingFacts]:
    usual = Settings()
    for key in setting_keys():
        value = value_of(workspace.settings, key)
        yield SettingFacts(key=key, value=as_toml(value), usual=value == value_of(usual, key))


def _model(workspace: Workspace, head: RoundRecord | None) -> dict[str, str]:
    """What made the scores that stand."""
    if head is None:
        return {}
    known = {one.feature_set_id: one for one in features.list_feature_sets(workspace.catalogue)}
    made = known.get(head.feature_set_id or 0)
    return {
        "round": str(head.round_id),
        "encoder": "-" if made is None else made.name,
        "fingerprint of the features": "-" if made is None else made.fingerprint,
        "SHA-256 of the model": head.model_digest or "-",
        "SHA-256 of the scores": head.score_digest or "-",
        "seed": str(head.seed),
    }
