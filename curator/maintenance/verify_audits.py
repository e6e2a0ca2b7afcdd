"""Audits and certificates against what they rest on: frame, draw, answers, test, claim.

Each audit is done again from what is kept: the frame's digest is taken anew, the draw repeated
from its seed, and a closed audit's test walked from its answers. What a certificate says must
follow from that.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from curator.audits.certify import frame_of, outcomes_of
from curator.audits.draw import AuditDraw, draw_audit
from curator.audits.frame import Frame, certified_set_digest
from curator.audits.ladder import AuditPlan, restore
from curator.audits.simple_random import (
    SimpleRandomPlan,
    close_simple_random,
    draw_simple_random,
    restore_simple_random,
)
from curator.audits.test import close_audit
from curator.base.vocabulary import AuditKind, AuditState
from curator.catalogue import audits, certificates, frames
from curator.catalogue.audits import AuditAnswers, AuditRecord
from curator.catalogue.certificates import CertificateRecord
from curator.catalogue.engine import Catalogue
from curator.errors import DataError


def audit_problems(catalogue: Catalogue) -> Iterator[str]:
    """A sentence for everything about audits that does not hold."""
    records = audits.list_audits(catalogue)
    is_open = [one.audit_id for one in records if one.state is AuditState.OPEN]
    if len(is_open) > 1:
        yield f"Audits {', '.join(map(str, is_open))} are open at once."
    yield from audits.misplaced_answers(catalogue)
    issued = {one.audit_id: one for one in certificates.list_certificates(catalogue)}
    for record in records:
        yield from _problems_of(catalogue, record, issued.get(record.audit_id))


def _problems_of(
    catalogue: Catalogue, record: AuditRecord, certificate: CertificateRecord | None
) -> Iterator[str]:
    name = f"Audit {record.audit_id}"
    try:
        frame = frame_of(frames.frame_rows(catalogue, record.frame_id))
        plan, draw = _drawn_again(record, frame)
    except DataError as error:
        yield f"{name}: {error.problem}"
        return
    answers = audits.answers_of(catalogue, record)
    if len(frame) != record.frame_size:
        yield f"{name}: its frame has {len(frame):,} of {record.frame_size:,} images."
    if not _same_draw(draw, answers):
        yield f"{name}: its images are not those that its plan and seed draw."
        return
    if certificate is None:
        return
    if record.state is not AuditState.CLOSED:
        yield f"{name} is {record.state}, but has a certificate."
        return
    yield from _certificate_problems(catalogue, certificate, plan, draw, frame, answers)


def _drawn_again(
    record: AuditRecord, frame: Frame
) -> tuple[AuditPlan | SimpleRandomPlan, AuditDraw]:
    if record.kind is AuditKind.PROMISE:
        ladder = restore(dict(record.plan), frame)
        return ladder, draw_audit(frame, ladder, seed=record.seed, attempt=record.attempt)
    single = restore_simple_random(dict(record.plan), frame)
    return single, draw_simple_random(frame, single, seed=record.seed, attempt=record.attempt)


def _same_draw(draw: AuditDraw, answers: AuditAnswers) -> bool:
    return np.array_equal(draw.image_ids, answers.image_ids) and np.array_equal(
        draw.shells, answers.shells
    )


def _certificate_problems(
    catalogue: Catalogue,
    certificate: CertificateRecord,
    plan: AuditPlan | SimpleRandomPlan,
    draw: AuditDraw,
    frame: Frame,
    answers: AuditAnswers,
) -> Iterator[str]:
    name = f"Certificate {certificate.certificate_id}"
    ids, positive = certificates.certified_labels(catalogue, certificate)
    if (
        len(ids) != certificate.certified
        or certified_set_digest(ids, positive) != certificate.claim
    ):
        yield f"{name}: the images that it is about are not those of its digest."
    try:
        found = _found(plan, draw, frame, answers, certificate.place_limit)
    except DataError as error:
        yield f"{name}: {error.problem}"
        return
    if found != (certificate.sample, certificate.errors):
        yield (
            f"{name} says {certificate.errors:,} errors of {certificate.sample:,}, but the answers"
            f" give {found[1]:,} of {found[0]:,}."
        )
    promises = certificate.kind is AuditKind.PROMISE
    if promises and certificate.bound > certificate.max_error + 1e-9:
        yield f"{name} promises {certificate.max_error:g}, but its bound is {certificate.bound:g}."


def _found(
    plan: AuditPlan | SimpleRandomPlan,
    draw: AuditDraw,
    frame: Frame,
    answers: AuditAnswers,
    limit: int,
) -> tuple[int, int]:
    """Sample and errors of the certified set, as the test finds them again."""
    outcomes = outcomes_of(answers)
    if isinstance(plan, SimpleRandomPlan):
        single = close_simple_random(frame, plan, draw, outcomes)
        return single.sample, single.errors
    steps = close_audit(frame, plan, draw, outcomes).steps
    passed = {step.rung.size: step for step in steps if step.passed}
    step = passed.get(limit)
    return (step.rung.drawn, step.errors) if step is not None else (0, 0)
