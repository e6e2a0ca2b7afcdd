"""What an audit came to, in sentences: for the report, whatever front end prints it."""

from __future__ import annotations

from curator.audits.claim import CertifiedSet
from curator.audits.test import AuditResult
from curator.base.vocabulary import AuditKind
from curator.catalogue.audits import AuditRecord
from curator.catalogue.certificates import CertificateRecord


def what_passed(claim: CertifiedSet, certificate: CertificateRecord) -> str:
    """A promise that holds, and what it rests on."""
    return (
        f"At most {certificate.max_error:.3g} of the {certificate.certified:,} certified labels"
        f" are wrong, at a confidence of {certificate.confidence:.4g}: {claim.errors:,} of"
        f" {claim.sample:,} audited ones were not confirmed, so at most {claim.wrong:,}"
        f" ({claim.bound:.2%}) of those that nobody has seen are wrong."
    )


def why_not(verdict: AuditResult, widest: CertifiedSet | None, record: AuditRecord) -> str:
    """Why nothing can be promised."""
    if widest is not None:
        return (
            f"Nothing can be certified: {widest.left:,} unseen images of the set that passed have"
            " been labelled by people, or cannot be used any more, since the audit was drawn, and"
            f" among those that are left {widest.wrong:,} ({widest.bound:.3%}) may be wrong, more"
            f" than the {record.max_error:.3g} that was promised."
        )
    step = verdict.steps[0]
    return (
        f"Nothing can be certified: {step.errors:,} of the first {step.rung.drawn:,} audited"
        f" images were not confirmed, and at most {step.rung.critical:,} would have proved"
        f" {record.max_error:.3g}. The labels that were found wrong are put right, and the audit's"
        " answers stay."
    )


def what_was_bounded(record: AuditRecord, certificate: CertificateRecord, name: str) -> str:
    """A bound for one fixed set; `name` is the user's name of the class."""
    found = (
        f"{certificate.errors:,} of {certificate.sample:,} audited images were not confirmed. At"
        f" most {certificate.wrong:,} ({certificate.bound:.2%}) of the {certificate.certified:,}"
    )
    if record.kind is AuditKind.MISSED:
        return (
            f"{found} images that lean to {name} and that the audit did not show are not {name}, at"
            f" a confidence of {certificate.confidence:.4g}."
        )
    kept = certificate.bound <= record.max_error
    beside = "within" if kept else "more than"
    return (
        f"{found} promoted labels that nobody has seen are wrong, at a confidence of"
        f" {certificate.confidence:.4g}; that is {beside} the {record.max_error:.3g} of"
        " promotion.max_error."
    )
