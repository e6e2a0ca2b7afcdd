"""Sentences about what was counted and measured, the same on every front end.

Names of classes and sources go in as the user wrote them; who shows a sentence escapes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from curator.base.text import count, percent

if TYPE_CHECKING:
    from curator.catalogue.certificates import CertificateRecord
    from curator.catalogue.rounds import RoundRecord
    from curator.classifiers.heads.label_weights import LabelNoise
    from curator.report.scores import ErrorCurve
    from curator.report.status import Status
    from curator.rounds.pool_error import OtherThresholds, PoolError, ThresholdError
    from curator.rounds.score_quality import ScoreQuality
    from curator.statistics.metrics import ErrorEstimate

FEW_FOR_NETWORKS = 2_000
"""Labels from which on fine-tuned networks were level with frozen features (docs/benchmarks.md)."""

PROVISIONAL = "provisional: no certificate covers them yet"
"""Said of promoted labels under the certified policy."""

NOT_AUDITED = "not audited: their error is estimated, not certified"
"""Said of promoted labels under the other policy, where none has to be certified."""


def task_sentences(status: Status) -> Iterator[str]:
    """What the workspace is for: the classes, the thresholds, the promised error."""
    classes, promotion = status.settings.classes, status.settings.promotion
    yield (
        f"Sort {count(status.counts.usable, 'image')} into `{classes.positive}` and"
        f" `{classes.negative}`."
    )
    score = "P" if promotion.score == "calibrated" else "the raw P"
    thresholds = (
        f"A round gives an image the label `{classes.positive}` when {score}({classes.positive})"
        f" is above {promotion.promote_above:g}, `{classes.negative}` when it is below"
        f" {promotion.promote_below:g}"
    )
    if promotion.policy == "certified":
        yield f"{thresholds}; until an audit, that is provisional."
        yield (
            f"The goal of audits: at most {percent(promotion.max_error)} of the promoted labels"
            f" are wrong, with {percent(promotion.confidence)} confidence over all audits together."
        )
    else:
        yield f"{thresholds}. No error rate is guaranteed."


def kind_sentence(status: Status) -> str:
    """Which kind of classifier these labels are enough for; empty if it is the one that is set."""
    labels = status.counts.usable - status.counts.without_human
    if status.settings.classifier.kind == "frozen" or labels >= FEW_FOR_NETWORKS:
        return ""
    return (
        f"networks are trained on {count(labels, 'label')}. Below {FEW_FOR_NETWORKS:,}, try frozen"
        " features: on one easy pair with 300 labels they promoted 72% in the first round (0.5% of"
        " it wrong), networks 4%, and 83% by the fifth (2.1% wrong): `curator config"
        " classifier.kind=frozen classifier.model=tf_efficientnet_lite0`"
    )


def outcome_sentences(status: Status) -> Iterator[str]:
    """What came out: labels of people, coverage, expected and measured errors."""
    from curator.classifiers.heads.label_weights import LabelNoise

    counts, record = status.counts, status.current_round
    measured = status.measured_round
    if not counts.usable:
        yield "There is no image yet that can be used."
        return
    labelled = counts.usable - counts.without_human
    yield (
        f"People labelled {count(labelled, 'image')}: "
        f"{decisions_sentence(status.decisions, status.minutes)}."
    )
    if record is None:
        yield "There is no current round: everything else is unlabelled."
        return
    coverage = coverage_sentence(counts.promoted, counts.without_human, counts.coverage)
    yield f"Coverage is {coverage}; {count(counts.unlabelled, 'image')} stay unlabelled."
    expected = record.outcome.get("expected_errors")
    alarms = [] if measured is None else measured.outcome.get("alarms", [])
    warned = any(each.get("holds") for each in alarms)
    if expected is not None and record.standing_promoted and not warned:
        yield (
            f"The scores predict that about {expected:,.0f} of the"
            f" {record.standing_promoted:,} labels promoted after round"
            f" {record.round_id} are wrong ({percent(expected / record.standing_promoted, 2)})."
        )
    if status.error is not None:
        yield error_sentence(status.error)
    if measured is not None:
        yield threshold_error_sentence(status.threshold_error)
    noise = None if measured is None else measured.outcome.get("label_belief")
    if noise is not None:
        yield from label_noise_sentences(LabelNoise.from_json(noise))


def missing_certificate_sentence(status: Status) -> str:
    """Why no certificate holds for the promoted labels; empty if one does."""
    from curator.audits.certificate import stale_sentence

    certificate, audit = status.certificate, status.audit
    if certificate is not None and certificate.stale is None:
        return ""
    if certificate is not None:
        return f"The certificate is stale: {stale_sentence(certificate)}."
    if not status.counts.promoted:
        return "There is no certificate, because nothing is promoted."
    if audit is not None:
        return (
            f"There is no certificate yet: audit {audit.audit_id} is open, with"
            f" {audit.answered:,} of {audit.sample:,} images answered."
        )
    state = PROVISIONAL if status.settings.promotion.policy == "certified" else NOT_AUDITED
    if status.payable is not None:
        return f"What rounds promoted is {state}. {status.spent_sentence}."
    return (
        f"What rounds promoted is {state}. An audit would measure it: `curator audit`,"
        " then `curator certify`."
    )


def certificate_state(certificate: CertificateRecord) -> str:
    """`valid`, or why the certificate is stale."""
    from curator.audits.certificate import stale_sentence

    return "valid" if certificate.stale is None else f"stale: {stale_sentence(certificate)}"


def quality_sentences(
    record: RoundRecord | None, quality: ScoreQuality | None, positive: str
) -> Iterator[str]:
    """What labels say of the current round's scores, or why they say nothing."""
    from curator.rounds.score_quality import advice

    if record is None:
        yield "There is no current round, so there are no scores to judge."
    elif quality is None:
        yield (
            f"Too few labels can judge the scores of round {record.round_id}: at least 20 of both"
            " classes are needed that had no part in them."
        )
    else:
        yield f"Scores of round {record.round_id}: {scores_sentence(quality)}."
        yield from share_sentences(quality, positive)
        yield from source_sentences(quality, positive)
        yield advice(quality)


def error_curve_basis(curve: ErrorCurve) -> str:
    """Which scores and labels the estimated error rests on."""
    scores = f"The line is what the scores of {curve.images:,} images without a human label predict"
    if not curve.labels:
        return f"{scores}; there are too few labels to check that."
    labels = f"{curve.labels:,} labels that had no part in the scores"
    if curve.on_pool:
        return f"{scores}; the points are {labels}, a random sample of the pool."
    return (
        f"{scores}; the points are {labels}. These are seeds, not a random sample of the pool, so"
        " the error of the pool may differ: only an audit measures it."
    )


def below_upper_sentence(record: RoundRecord) -> str:
    """How many promoted labels would not be given again; empty where a round did not count."""
    below = record.outcome.get("below_upper")
    if not below:
        return ""
    return (
        f"{below:,} of the {record.standing_promoted:,} labels promoted after round"
        f" {record.round_id} no longer pass the threshold for a new label; they are kept until"
        " they cross the lower one (promotion.revoke_below, revoke_above)."
    )


def coverage_sentence(promoted: int, without_human: int, coverage: float) -> str:
    """Coverage, which counts what the machine labelled, with the numbers behind it."""
    if not without_human:
        return "none: people labelled every image"
    return (
        f"{percent(coverage)}: {promoted:,} promoted of {count(without_human, 'image')} without a"
        " human label"
    )


def decisions_sentence(decisions: int, minutes: float) -> str:
    """Decisions of people and their minutes."""
    about = f", about {minutes:,.0f} minutes of looking" if minutes >= 1 else ""
    return f"{count(decisions, 'decision')} by people{about}"


def scores_sentence(quality: ScoreQuality) -> str:
    """Calibration in one line."""
    return (
        f"on {quality.measured_on} that had no part in them, expected calibration error"
        f" {quality.calibration_error:.3f}, Brier score {quality.brier:.4f}, log loss"
        f" {quality.log_loss:.4f}"
    )


def label_noise_sentences(noise: LabelNoise) -> Iterator[str]:
    """The regularization of the heads, and the labels that hardly count in training."""
    yield f"Heads: C = {noise.regularization:g} (classifier.regularization)."
    if noise.doubted:
        yield (
            f"Labels: about {percent(noise.wrong_share)} are probably wrong, by heads not"
            f" trained on them;"
            f" {noise.doubted:,} hardly count in training (classifier.doubt). Look at them with"
            " `curator review suspect`."
        )


def error_sentence(error: PoolError) -> str:
    """The error of the pool if it is known; if not, what is known, and how to make it known."""
    on_labels = error.labels
    measured_interval = f"95% interval {interval(on_labels)}"
    measured = f"{percent(on_labels.rate)}" if on_labels.sample else ""
    if error.pool is not None:
        sentence = (
            f"Error on the pool: {measured} ({measured_interval}), measured on"
            f" {on_labels.sample:,} labels of a random sample by heads that were not trained on"
            " them"
        )
        if error.with_undecided is not None:
            images = count(error.undecided, "image")
            sentence += (
                f"; {percent(error.with_undecided.rate)} if the {images} of the sample that nobody"
                " decided count as wrong"
            )
        return f"{sentence}."
    if error.shortcut:
        return (
            "Error: unknown for the pool. A class may have been learned by its source, and the"
            " labels there are cannot show that."
        )
    of_seeds = (
        f"; {measured} on your seeds ({measured_interval}, {count(on_labels.sample, 'label')})"
    )
    so_far = f", {error.random_labels:,} so far" if error.random_labels else ""
    return (
        f"Error: unknown for the pool{of_seeds if measured else ''}. 50 labels of a random sample"
        f" measure it{so_far}: `curator review random`."
    )


def threshold_error_sentence(error: ThresholdError | None) -> str:
    """The cross-validated error of what rounds promote."""
    if error is None or not error.beyond.sample:
        beyond = "" if error is None else ", and none lies beyond the thresholds"
        return f"Estimated error of promoted labels: unknown, too few labels to measure it{beyond}."
    kind = "of a random sample" if error.on_pool else "of your seeds"
    sentence = (
        f"Estimated error of promoted labels: {percent(error.beyond.rate)} (95% interval"
        f" {interval(error.beyond)}, {count(error.beyond.sample, 'label')} {kind})"
    )
    if error.added is not None and error.added.sample not in (0, error.beyond.sample):
        sentence += (
            f"; of this round's: {percent(error.added.rate)} ({interval(error.added)},"
            f" {count(error.added.sample, 'label')})"
        )
    return f"{sentence}."


def threshold_error_cell(record: RoundRecord) -> str:
    """The same of a past round, for a table: the error and how many labels measured it."""
    from curator.rounds.pool_error import ThresholdError

    error = ThresholdError.from_outcome(record.outcome)
    if error is None or not error.beyond.sample:
        return "-"
    return f"{percent(error.beyond.rate)} ({error.beyond.sample:,})"


def other_thresholds_sentence(
    options: Sequence[OtherThresholds], error: PoolError | None, max_error: float
) -> str:
    """What looser thresholds would give, or how to learn it; empty if none gives more.

    Two are named: the loosest whose estimated error is at most `max_error`, and the next one.
    """
    if error is None or error.shortcut:
        return ""
    if not error.on_pool:
        so_far = f" ({error.random_labels:,} so far)" if error.random_labels else ""
        return (
            f"The error on all images is unknown: 50 labels of a random sample{so_far} measure"
            " it, and show what other thresholds would give: `curator review random`."
        )
    accepted = [n for n, each in enumerate(options) if (each.error.rate or 0.0) <= max_error]
    first = max(accepted, default=0)
    named = [
        f"at {each.promote_above:g} and {each.promote_below:g}, {count(each.images, 'more image')},"
        f" estimated error {percent(each.error.rate)} ({interval(each.error)})"
        for each in options[first : first + 2]
    ]
    return f"Other thresholds: {'; '.join(named)}." if named else ""


def interval(estimate: ErrorEstimate) -> str:
    """The interval of an estimate: `0.1 to 2.3%`."""
    return f"{100 * estimate.low:.1f} to {percent(estimate.high)}"


def share_sentences(quality: ScoreQuality, positive: str) -> Iterator[str]:
    """Labels whose class shares are far from those that the scores imply for the pool."""
    from curator.rounds.score_quality import LARGE_DIFFERENCE

    implied = quality.pool_share
    if implied is not None and abs(implied - quality.positive_share) > LARGE_DIFFERENCE:
        yield (
            f"Of the labels {percent(quality.positive_share)} are {positive}; if the pool differs"
            f" in nothing but its shares, about {percent(implied)} of it is. Scores assume the"
            " shares of the labels until there is a random sample of the pool:"
            " `curator review random` (50 or more)."
        )


def source_sentences(quality: ScoreQuality, positive: str) -> Iterator[str]:
    """Sources in which scores do not mean what they say."""
    for source in quality.sources:
        if source.differs:
            yield (
                f"Source {source.source} differs: of {source.labels:,} labelled images there,"
                f" scores expect {source.expected_positive:.0f} {positive} and people found"
                f" {source.positive:,}. Label more of that source."
            )
