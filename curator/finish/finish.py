"""A pool finished in one guided loop: label, train, label; then everything gets a label, checked.

Every turn of the loop reads from the catalogue where the pool stands and does the next thing:
first labels, a round, the next batch of the least certain images, the likelier class for what
nobody decided once the scores expect few enough of the machine's labels to be wrong, and a blind
random check of these. So whoever leaves, or is interrupted, goes on with the same call.

The error is wrong machine labels / all usable images. Labels that were asked because an image is
hard never measure it: the check draws from all images that people have not labelled. Without
`certify` its result is an estimate. With it the check is one sequential audit of all these images
(`audits.audit.plan`), which takes at most half of the risk that is left; if it fails, the loop
goes on, and all certificates together are false at most as often as the confidence allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

import numpy as np

from curator.audits.audit import ask_on, audit, begin
from curator.audits.certificate import current_certificates, refuse_to_void
from curator.audits.certify import certify as close_audit
from curator.audits.ledger import spending
from curator.audits.plan import payable_confidence
from curator.audits.planned import plan_audit
from curator.base.progress import SILENT, Progress
from curator.base.text import count, percent
from curator.base.vocabulary import CurrentLabel, Origin
from curator.catalogue import audit_answers, audits, queues, random_draws, rounds
from curator.catalogue.audits import refuse_open_audit
from curator.catalogue.certificates import CertificateRecord
from curator.catalogue.counts import Counts, counts
from curator.catalogue.engine import Catalogue
from curator.catalogue.rounds import RoundRecord, measured_round
from curator.errors import DataError, UsageError
from curator.finish.settle import LikelierLabels, likelier_labels, settle, settled_round, take_back
from curator.rounds.run import run_rounds
from curator.statistics.calibration import SAMPLE_FOR_POOL
from curator.statistics.metrics import ErrorEstimate, error_from_counts
from curator.workspace import Workspace

FIRST_LABELS = 50
"""Labels of images spread over feature space, before a random sample of the pool."""
BATCH = 25
GROWTH = 10
"""A batch is a tenth of the labels so far, at least `BATCH` images."""
ERRORS_AT_LIMIT = 2
"""A check is so large that a pool with exactly the accepted error shows this many on average."""
SMALLEST_CHECK = 50
LIKELY_PROOF = 0.8
"""Chance of a proof from which an audit is opened."""

Ask = Callable[[str, int], bool]
"""Puts at most so many images of a queue before a person; False if they left before the end."""


class Rounds(Protocol):
    """Runs rounds elsewhere while a person labels."""

    def start(self) -> None:
        """Begin a round."""

    def wait(self) -> bool:
        """Wait for it; whether it ended well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishReport:
    """How far a pool is.

    `machine` labels are those that no person gave, `likelier` of them given without being sure,
    `blocked` images have no label before a person looks. `expected` is the error of the pool by the
    scores; `estimate` counts the errors of a random check, and `estimated` is what they say of the
    pool, low, middle and high. `earlier` are the checks of machine labels that were taken back
    since: answers that did not confirm them, and all answers. `proved` is the error of the pool
    that `certificate` excludes more than. `finished` is False if the person left.
    """

    finished: bool
    error: float
    images: int
    people: int
    machine: int
    likelier: int
    blocked: int
    expected: float | None
    estimate: ErrorEstimate | None
    estimated: tuple[float, float, float] | None
    earlier: Sequence[tuple[int, int]] = ()
    certificate: CertificateRecord | None
    proved: float | None

    @property
    def text(self) -> str:
        """The report in plain sentences."""
        have = (
            f"{self.people:,} of {count(self.images, 'image')} labelled by people,"
            f" {self.machine:,} by the machine"
        )
        if not self.finished:
            by_scores = (
                ""
                if self.expected is None
                else f" According to the scores {percent(self.expected, 2)} of the pool would be"
                " wrong if every undecided image got its likelier class; the limit is"
                f" {percent(self.error, 2)}."
            )
            return f"Not finished: {have}.{by_scores} `curator finish` goes on."
        lines = [f"Every image has a label: {have} ({self.likelier:,} got the likelier class)."]
        if self.blocked:
            lines[0] = f"{have} ({self.likelier:,} got the likelier class)."
            lines.append(
                f"{count(self.blocked, 'image')} that a rollback blocked wait for a person:"
                " `curator review borderline`."
            )
        if self.certificate is not None and self.proved is not None:
            lines.append(
                f"Certificate {self.certificate.certificate_id}: at most"
                f" {self.certificate.wrong:,} of these machine labels are wrong, which is"
                f" {percent(self.proved, 2)} of the pool, at"
                f" {100 * self.certificate.confidence:.4g}% confidence."
            )
        elif self.estimate is not None and self.estimated is not None:
            low, middle, high = (percent(share, 2) for share in self.estimated)
            checked = count(self.estimate.sample, "random machine label")
            lines.append(
                f"Estimate, no certificate: {middle} of the pool is wrong (95% CI {low} to {high});"
                f" {self.estimate.errors:,} of {checked} were not confirmed."
            )
            if self.earlier:
                checks = ", ".join(f"{wrong:,} of {sample:,}" for wrong, sample in self.earlier)
                lines.append(
                    f"Not confirmed in earlier checks, whose labels were taken back: {checks}. An"
                    " estimate that is repeated until it passes is biased low."
                )
        return " ".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The report for programs."""
        estimate = self.estimate
        return {
            "finished": self.finished,
            "error": self.error,
            "images": self.images,
            "people": self.people,
            "machine": self.machine,
            "likelier": self.likelier,
            "blocked": self.blocked,
            "expected": self.expected,
            "sample": None if estimate is None else estimate.sample,
            "not_confirmed": None if estimate is None else estimate.errors,
            "estimated": None if self.estimated is None else list(self.estimated),
            "earlier": [
                {"sample": sample, "not_confirmed": wrong} for wrong, sample in self.earlier
            ],
            "certificate": None if self.certificate is None else self.certificate.certificate_id,
            "proved": self.proved,
            "text": self.text,
        }


def finish(
    workspace: Workspace,
    ask: Ask,
    *,
    error: float,
    certify: bool = False,
    elsewhere: Rounds | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Progress = SILENT,
) -> FinishReport:
    """Go on until every image has a label and the check says at most `error`, or `ask` says False.

    `elsewhere` runs rounds while the person labels the next batch; without it they run between
    batches. `say` hears what is done and why. Raises UsageError for an error out of range, and
    DataError where an audit of another kind is open, a certificate would be voided, or with
    `certify` nothing is left to spend or the promise is empty.
    """
    if not 0.001 <= error <= 0.5:
        raise UsageError(
            f"No pool can be finished with an error of {error:g}.",
            "Give --error from 0.001 to 0.5, such as --error 0.01.",
        )
    catalogue = workspace.catalogue
    while True:
        settled = settled_round(workspace.catalogue)
        record = audits.open_audit(catalogue)
        if record is not None and (settled is None or record.round_id != settled.round_id):
            refuse_open_audit(catalogue, "`finish`")
        if record is not None and settled is not None:
            if not _answered(workspace, ask):
                return _report(workspace, error, finished=False)
            closed = close_audit(workspace, progress=progress)
            say(closed.text)
            if closed.certificate is None:
                say("The check failed, so undecided images are undecided again. It goes on.")
                take_back(workspace, settled)
            continue
        certificate = _certificate(workspace.catalogue)
        if certificate is not None and settled is None:
            report = _report(workspace, error, finished=True, certificate=certificate)
            new = likelier_labels(workspace).unscored
            if report.proved is not None and report.proved <= error and not new:
                return report
            refuse_to_void(catalogue, workspace.settings.classes, "`finish`")
        if settled is not None:
            labels = likelier_labels(workspace)
            if labels.unscored or labels.expected_wrong > error * labels.images:
                say("Undecided images are undecided again, because there are new ones or a smaller"
                    " error is asked for.")  # fmt: skip
                take_back(workspace, settled)
            elif certify:
                say(audit(workspace, pool_error=error, anyway=True, progress=progress).text)
                begin(workspace)
            else:
                estimate, left = _check(workspace, settled, labels)
                if left:
                    say(f"Check: {count(left, 'random machine label')} to look at, blind.")
                    if not ask("random", left):
                        return _report(workspace, error, finished=False)
                    estimate, left = _check(workspace, settled, labels)
                    if left:
                        return _report(workspace, error, finished=False)
                report = _report(workspace, error, finished=True, estimate=estimate)
                if report.estimated is None or report.estimated[1] <= error:
                    return report
                say(f"{report.text} The limit is {percent(error, 2)}, so it goes on.")
                take_back(workspace, settled)
            continue

        present = counts(catalogue)
        request = _first_labels(present)
        if request is None and present.without_human == 0:
            return _report(workspace, error, finished=True)
        waits = request is None and _has_news(workspace)
        if waits and (elsewhere is None or measured_round(rounds.list_rounds(catalogue)) is None):
            _round(workspace, progress)
            waits = False
        if request is None and not waits and _may_settle(workspace, error, certify, say):
            settle(workspace, error=error)
            continue
        if request is None:
            request = _next_batch(workspace.catalogue)
        if waits and elsewhere is not None:
            elsewhere.start()
        before = queues.newest_decision_at(catalogue)
        stays = ask(*request)
        if waits and elsewhere is not None and not elsewhere.wait():
            _round(workspace, progress)  # raises what it ended with
        if not stays or queues.newest_decision_at(catalogue) == before:
            return _report(workspace, error, finished=False)


def _round(workspace: Workspace, progress: Progress) -> None:
    refuse_to_void(workspace.catalogue, workspace.settings.classes, "A round")
    list(run_rounds(workspace, progress=progress))


def _first_labels(present: Counts) -> tuple[str, int] | None:
    """The queue and the number of labels that a first round still needs, None if it has them."""
    classes = (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)
    people = {
        side: sum(
            number
            for origin, number in present.labels.get(side, {}).items()
            if origin is not Origin.PROMOTED
        )
        for side in classes
    }
    if sum(people.values()) < FIRST_LABELS:
        return "diverse", FIRST_LABELS - sum(people.values())
    drawn = sum(present.labels.get(side, {}).get(Origin.CALIBRATION, 0) for side in classes)
    if drawn < SAMPLE_FOR_POOL and present.without_human:
        return "random", min(SAMPLE_FOR_POOL - drawn, present.without_human)
    if not all(people.values()):
        return "diverse", BATCH
    return None


def _next_batch(catalogue: Catalogue) -> tuple[str, int]:
    """The queue that finds the most useful images now, and how many of them."""
    present = counts(catalogue)
    people = present.usable - present.without_human
    size = min(max(BATCH, people // GROWTH), present.without_human)
    record = measured_round(rounds.list_rounds(catalogue))
    if record is not None and _misleading(record):
        return "random", size
    if present.unlabelled:
        return "borderline", min(size, present.unlabelled)
    return "promoted", size


def _misleading(record: RoundRecord) -> bool:
    """Whether a warning says that scores may not be right. Of too many errors the check tells."""
    warnings = record.outcome.get("alarms", [])
    return any(each.get("holds") and each.get("kind") != "error" for each in warnings)


def _has_news(workspace: Workspace) -> bool:
    """Whether there are labels or images that the current scores do not know."""
    record = measured_round(rounds.list_rounds(workspace.catalogue))
    if record is None or likelier_labels(workspace).unscored:
        return True
    decided_at = queues.newest_decision_at(workspace.catalogue)
    return decided_at is not None and decided_at > record.started_at


def _may_settle(
    workspace: Workspace, error: float, certify: bool, say: Callable[[str], None]
) -> bool:
    """Whether the scores expect few enough wrong labels, and with `certify` a proof is likely."""
    labels = likelier_labels(workspace)
    record = measured_round(rounds.list_rounds(workspace.catalogue))
    expected = labels.expected_wrong / labels.images
    say(
        f"According to the scores {percent(expected, 2)} of the pool would be wrong if every"
        f" undecided image got its likelier class; the limit is {percent(error, 2)}."
    )
    if expected > error or record is None or _misleading(record):
        return False
    if not certify:
        return True
    _refuse_unprovable(workspace, labels, error)
    try:
        outlook = plan_audit(workspace, pool_error=error).outlook
    except DataError:  # too few images to prove it by looking at half of them
        return False
    assert outlook is not None
    return outlook.best.expectation.chance >= LIKELY_PROOF


def _refuse_unprovable(workspace: Workspace, labels: LikelierLabels, error: float) -> None:
    """Raises DataError where nothing is left to spend, or one label for all would do."""
    confidence = workspace.settings.promotion.confidence
    payable = payable_confidence(confidence, spending(workspace))
    if payable < confidence:
        raise DataError(
            f"Earlier audits have spent the whole risk of {1 - confidence:.4g} (1 -"
            " promotion.confidence). Nothing was changed.",
            f"`curator finish --error {error:g}` ends with an estimate; a certificate can promise"
            f" less: `curator config promotion.confidence={payable:.4g}`.",
        )
    positive = np.where(labels.pool.human, labels.pool.positive, labels.positive)
    if min(positive.mean(), 1 - positive.mean()) <= error:
        raise DataError(
            f"Only {min(positive.mean(), 1 - positive.mean()):.2%} of the pool carries the rarer"
            f" label, so one label for all images would keep a promise of {error:.2%} as well.",
            "Give a smaller --error, or audit one class: `curator audit --class`.",
        )


def _answered(workspace: Workspace, ask: Ask) -> bool:
    """Put all that the open audit asks for before the person; False if they left."""
    record = begin(workspace)
    while waiting := audit_answers.answers_of(workspace.catalogue, record).waiting:
        if not ask("audit", waiting):
            return False
        left = audit_answers.answers_of(workspace.catalogue, record).waiting
        if left == waiting:
            return False
        record = ask_on(workspace, record)
    return True


def _check(
    workspace: Workspace, settled: RoundRecord, labels: LikelierLabels
) -> tuple[ErrorEstimate, int]:
    """What a random check says of the machine's labels so far, and how many are to be checked.

    An image counts as wrong unless a person gave it the class that the machine did, also if they
    were unsure or passed it over.
    """
    policy = settled.likelier
    assert policy is not None
    answers, passed = random_draws.sample_since(
        workspace.catalogue, workspace.settings.runtime.seed, policy["newest_event"]
    )
    image_ids = np.array(list(answers), dtype=np.int64)
    rows = np.searchsorted(labels.pool.image_ids, image_ids)
    classes = np.where(labels.positive[rows], CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)
    wrong = passed + sum(
        answer != machine for answer, machine in zip(answers.values(), classes, strict=True)
    )
    sample = len(answers) + passed
    frame_size = int(labels.free.sum()) + len(answers)
    limit = policy["error"] * labels.images / max(frame_size, 1)
    size = min(max(SMALLEST_CHECK, ceil(ERRORS_AT_LIMIT / limit)), frame_size)
    return error_from_counts(wrong, sample), max(0, size - sample)


def _earlier_checks(catalogue: Catalogue) -> list[tuple[int, int]]:
    """Answers that did not confirm labels which were taken back since, and all, of each check."""
    checks = []
    for record in rounds.list_rounds(catalogue):
        if record.likelier is None or record.status is not rounds.RoundStatus.ROLLED_BACK:
            continue
        answers, machine = random_draws.answers_until_rollback(
            catalogue, record.round_id, record.likelier["newest_event"]
        )
        if len(answers) >= SMALLEST_CHECK:
            wrong = sum(label != machine.get(image_id) for image_id, label in answers.items())
            checks.append((wrong, len(answers)))
    return checks


def _certificate(catalogue: Catalogue) -> CertificateRecord | None:
    """The valid certificate that the current round issued, if its parent settled the pool."""
    head = rounds.head(catalogue)
    record = None if head is None else rounds.get_round(catalogue, head)
    if record is None or record.kind != "certify" or record.parent_id is None:
        return None
    if rounds.get_round(catalogue, record.parent_id).likelier is None:
        return None
    return next((each for each in current_certificates(catalogue) if each.stale is None), None)


def _report(
    workspace: Workspace,
    error: float,
    *,
    finished: bool,
    estimate: ErrorEstimate | None = None,
    certificate: CertificateRecord | None = None,
) -> FinishReport:
    present = counts(workspace.catalogue)
    labels = likelier_labels(workspace)
    expected = labels.expected_wrong / labels.images if len(labels.pool.image_ids) else None
    lineage = rounds.lineage(workspace.catalogue)
    likelier = sum(
        record.promoted_positive + record.promoted_negative
        for record in (rounds.get_round(workspace.catalogue, number) for number in lineage[-2:])
        if record.likelier is not None
    )
    estimated = None
    if estimate is not None and estimate.sample:
        share = present.promoted / present.usable
        estimated = (estimate.low * share, (estimate.rate or 0.0) * share, estimate.high * share)
    return FinishReport(
        finished=finished,
        error=error,
        images=present.usable,
        people=present.usable - present.without_human,
        machine=present.promoted,
        likelier=likelier,
        blocked=present.unlabelled if finished else 0,
        expected=expected,
        estimate=estimate,
        estimated=estimated,
        earlier=() if estimate is None else _earlier_checks(workspace.catalogue),
        certificate=certificate,
        proved=None if certificate is None else certificate.wrong / present.usable,
    )
