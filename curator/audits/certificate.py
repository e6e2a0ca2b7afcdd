"""What certificates say about the promoted labels of now, for `status`, `export` and the sidecar.

The state of a certificate is derived anew each time, with the reason where it is stale. Under
the certified policy a promoted image is provisional unless a valid certificate covers it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from curator.base.arrays import BoolArray, IntArray
from curator.base.idset import IdSet
from curator.base.text import count
from curator.base.vocabulary import AuditKind, AuditScope, CurrentLabel
from curator.catalogue import certificates
from curator.catalogue.certificates import CertificateRecord, DrawSource, Staleness
from curator.catalogue.engine import Catalogue
from curator.errors import DataError
from curator.settings.sections import ClassesSettings, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedImages:
    """A certificate as an export sees it.

    `facts` is what is shown, JSON values. `image_ids` are the images whose promoted labels
    it speaks about: its frame, less those that were audited. A `stale` one is shown as such.
    `issued` are the certificates themselves, unless stale.
    """

    facts: Mapping[str, Any]
    image_ids: Iterable[int]
    issued: Sequence[CertificateRecord] = ()
    stale: bool = False


def current_certificates(catalogue: Catalogue) -> list[CertificateRecord]:
    """The newest certificate of every kind and scope, valid ones first, then by age."""
    newest = [
        record
        for record in certificates.list_certificates(catalogue)
        if record.stale is not Staleness.SUPERSEDED
    ]
    return sorted(newest, key=lambda record: (record.stale is not None, -record.certificate_id))


def count_valid_about(catalogue: Catalogue, promoted: Set[CurrentLabel]) -> int:
    """How many certificates that hold now become stale if images promoted to these leave."""
    return sum(
        record.stale is None
        and record.kind is not AuditKind.MISSED
        and bool(promoted)
        and (record.scope is AuditScope.ALL or str(record.scope) in promoted)
        for record in current_certificates(catalogue)
    )


def certificate_of_promoted(
    current: list[CertificateRecord], scope: AuditScope
) -> CertificateRecord | None:
    """The one that `status` and a manifest show: about promoted labels, the newest valid one.

    For labels of one class (`scope`) only one about that class counts: a bound for both
    together says nothing about one of them.
    """
    return next(
        (
            record
            for record in current
            if record.kind is not AuditKind.MISSED and scope in (AuditScope.ALL, record.scope)
        ),
        None,
    )


def uncertified(classes: ClassesSettings, current: Sequence[CertificateRecord]) -> list[AuditScope]:
    """Of what needs a certificate of its own, that which has no valid one."""
    valid = [record for record in current if record.stale is None]
    scopes = {record.scope for record in valid if record.kind is not AuditKind.MISSED}
    if classes.deliver == "both" and scopes:
        return []  # one about a single class is worth an export, too
    return [scope for scope in classes.certified_scopes if scope not in scopes]


def refuse_to_void(catalogue: Catalogue, classes: ClassesSettings, what: str) -> None:
    """Raises DataError if a valid certificate about promoted labels would not survive `what`."""
    if sentences := sentences_of_valid(catalogue, classes):
        raise DataError(
            f"{what} would void what is certified: {'; '.join(sentences)}. The risk that its audit"
            " spent stays spent. Nothing was changed.",
            "`curator export` writes the certified labels first; `--yes` (in Python"
            " `void_certificate=True`) goes on all the same.",
        )


def sentences_of_valid(catalogue: Catalogue, classes: ClassesSettings) -> list[str]:
    """The valid certificates about promoted labels, in a sentence each."""
    return [
        certificate_sentence(record, classes)
        for record in current_certificates(catalogue)
        if record.stale is None and record.kind is not AuditKind.MISSED
    ]


def valid_certificates(catalogue: Catalogue) -> set[int]:
    """The numbers of the certificates that hold now."""
    return {
        record.certificate_id for record in current_certificates(catalogue) if record.stale is None
    }


def certificate_json(record: CertificateRecord, classes: ClassesSettings) -> dict[str, Any]:
    """A certificate for programs; `max_error` is null where nothing was promised beforehand."""
    promises = record.kind is AuditKind.PROMISE
    return {
        "max_error": record.max_error if promises else None,
        "bound": record.bound,
        "confidence": record.confidence,
        "sample": record.sample,
        "errors": record.errors,
        "state": "valid" if record.stale is None else "stale",
        "reason": stale_sentence(record),
        "kind": str(record.kind),
        "class": classes.name_of(str(record.scope)),
        "certified": record.certified,
        "wrong": record.wrong,
        "attempt": record.attempt,
        "risk": record.risk,
        "design": record.details.get("design", ""),
        "overlooked": record.details.get("overlooked", 0.0),
        "warnings": record.details.get("warnings", []),
        "doubts": list(certificate_doubts(record)),
        "frame_sha256": record.frame_digest,
        "frame_size": record.frame_size,
        "claim_sha256": record.claim,
        "commitment": record.commitment or None,
    }


def stale_sentence(record: CertificateRecord) -> str:
    """Why a certificate is stale; empty while it holds."""
    if record.stale is None:
        return ""
    if record.stale is Staleness.ROLLED_BACK:
        return f"round {record.round_id}, which it belongs to, was rolled back"
    changes = (
        (record.missing, "certified image", "no longer promoted, or not in the pool any more"),
        (record.added, "promoted image", "not certified"),
    )
    reasons = [f"{count(number, noun)} {change}" for number, noun, change in changes if number]
    return " and ".join(reasons) or "the promoted images are not those that it was issued for"


def certificate_doubts(record: CertificateRecord) -> Iterator[str]:
    """What could make a certificate false that older versions of curator did not prevent."""
    if record.draw_source is DrawSource.CHOSEN_SALT:
        yield "the salt of its draw was chosen, so this audit proves nothing"
    if record.draw_source is not DrawSource.SEED:
        return
    yield (
        "its draw could have been predicted before it was opened, so it holds only if nobody chose"
        " the audit's size, class or settings by what would be drawn"
    )
    for step in record.details.get("steps", []):
        # Before labels of the frame were refused, those that called it wrong were subtracted.
        if step["size"] == record.place_limit and "refuted" in step:
            elsewhere = step["allowed"] - step["refuted"] - record.wrong
            if elsewhere > 0 and not record.details.get("overlooked"):
                yield (
                    f"{count(elsewhere, 'label')} that came from elsewhere while the audit was open"
                    " were subtracted from its number; with mistakes among them more may be wrong"
                )
    if record.details.get("overlooked") and not record.details.get("steps"):
        yield "its number of images may be one too low by rounding"


def certificate_sentence(record: CertificateRecord, classes: ClassesSettings) -> str:
    """A certificate in one sentence."""
    name = classes.name_of(str(record.scope))
    promoted_to = "" if record.scope is AuditScope.ALL else f" to {name}"
    if record.kind is AuditKind.MISSED:
        return (
            f"at most {record.wrong:,} ({record.bound:.2%}) of {record.certified:,} images that"
            f" lean to {name} are not {name}, at {100 * record.confidence:.4g}% confidence"
        )
    return (
        f"at most {record.wrong:,} ({record.bound:.2%}) of {record.certified:,} labels"
        f" promoted{promoted_to} are wrong, at {100 * record.confidence:.4g}% confidence"
        f" ({record.errors:,} of {record.sample:,} audited)"
    )


class ExportableLabels:
    """Which promoted images may go into a manifest, and what may be said about them.

    Under thresholds all may. Under the certified policy those that a valid certificate covers,
    and with `provisional` all.
    """

    def __init__(self, catalogue: Catalogue, settings: Settings, *, provisional: bool) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._all = provisional or settings.promotion.policy != "certified"
        self._certificates = [
            record
            for record in current_certificates(catalogue)
            if record.kind is not AuditKind.MISSED
        ]
        self._certified = [
            self._ids_of(record)
            for record in self._certificates
            if not self._all and record.kind is AuditKind.PROMISE
        ]

    def covers(self, image_ids: IntArray) -> BoolArray:
        """Which promoted images of an array (n,) may go in."""
        allowed = np.full(len(image_ids), self._all, dtype=np.bool_)
        for certified in self._certified:
            allowed |= certified.holds(image_ids)
        return allowed

    def why_none(self, scope: AuditScope) -> str:
        """Why there is no certificate about the labels of a scope."""
        pooled = next((each for each in self._certificates if each.stale is None), None)
        if pooled is None or scope is AuditScope.ALL:
            return "no audit has checked promoted labels"
        classes = self._settings.classes
        name, other = classes.name_of(str(scope)), classes.name_of(str(pooled.scope))
        about = "both classes together" if pooled.scope is AuditScope.ALL else f"`{other}`"
        return (
            f"the certificate is about {about} and does not carry over to `{name}` alone, which"
            f" may hold all wrong labels; `curator audit --class {shlex.quote(name)}` certifies"
            " that class (--dry-run says at which cost)"
        )

    def certified(self, scope: AuditScope) -> CertifiedImages | None:
        """What the newest certificate says, and about which images; None without one.

        `scope` is the class that is exported; for both, or neither, all.
        """
        newest = certificate_of_promoted(self._certificates, scope)
        if newest is None:
            return None
        facts = certificate_json(newest, self._settings.classes)
        if newest.stale is not None:
            return CertifiedImages(facts=facts, image_ids=(), stale=True)
        both_classes = {AuditScope.POSITIVE, AuditScope.NEGATIVE}
        beside = [
            record
            for record in self._certificates
            if scope is AuditScope.ALL
            and {record.scope, newest.scope} == both_classes
            and record.stale is None
            and record.kind is newest.kind
        ]
        if beside:  # the other class has a certificate of its own
            facts["beside"] = [
                certificate_json(record, self._settings.classes) for record in beside
            ]
        image_ids = IdSet()
        for record in (newest, *beside):
            for image_id in self._ids_of(record):
                image_ids.add(image_id)
        return CertifiedImages(facts=facts, image_ids=image_ids, issued=(newest, *beside))

    def _ids_of(self, record: CertificateRecord) -> IdSet:
        if record.stale is not None:
            return IdSet()
        ids, _ = certificates.certified_labels(self._catalogue, record)
        return IdSet(ids.tolist())
