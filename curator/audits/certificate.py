"""What certificates say about what stands promoted now, for `status`, `export` and the sidecar.

A certificate is shown with its state worked out afresh, and with the reason where it is stale.
Under the certified policy a promoted image is provisional unless a certificate that holds is
about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.idset import IdSet
from curator.base.vocabulary import AuditKind, AuditScope
from curator.catalogue import certificates
from curator.catalogue.certificates import CertificateRecord, Staleness
from curator.catalogue.engine import Catalogue
from curator.settings.sections import ClassesSettings, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedImages:
    """A certificate as an export sees it.

    `facts` is what is shown, JSON values. `image_ids` are the images whose promoted labels
    it speaks about: its frame, less those that were audited. A `stale` one is shown as such.
    """

    facts: Mapping[str, Any]
    image_ids: Iterable[int]
    stale: bool = False


def current_certificates(catalogue: Catalogue) -> list[CertificateRecord]:
    """The newest certificate of every kind and scope, those that hold first, then by age."""
    found = [
        one
        for one in certificates.list_certificates(catalogue)
        if one.stale is not Staleness.SUPERSEDED
    ]
    return sorted(found, key=lambda one: (one.stale is not None, -one.certificate_id))


def certificate_of_promoted(found: list[CertificateRecord]) -> CertificateRecord | None:
    """The one that `status` and a manifest show: about promoted labels, the newest that holds."""
    return next((one for one in found if one.kind is not AuditKind.MISSED), None)


def certificate_json(one: CertificateRecord, classes: ClassesSettings) -> dict[str, Any]:
    """A certificate for programs; `max_error` is null where nothing was promised beforehand."""
    promises = one.kind is AuditKind.PROMISE
    return {
        "max_error": one.max_error if promises else None,
        "bound": one.bound,
        "confidence": one.confidence,
        "sample": one.sample,
        "errors": one.errors,
        "state": "valid" if one.stale is None else "stale",
        "reason": stale_sentence(one),
        "kind": str(one.kind),
        "class": classes.name_of(str(one.scope)),
        "certified": one.certified,
        "wrong": one.wrong,
        "attempt": one.attempt,
        "risk": one.risk,
        "design": one.details.get("design", ""),
        "overlooked": one.details.get("overlooked", 0.0),
        "frame_sha256": one.frame_digest,
        "frame_size": one.frame_size,
        "claim_sha256": one.claim,
    }


def stale_sentence(one: CertificateRecord) -> str:
    """Why a certificate is stale; empty while it holds."""
    if one.stale is None:
        return ""
    if one.stale is Staleness.ROLLED_BACK:
        return f"round {one.round_id}, which it belongs to, was rolled back"
    changes = (
        (one.missing, "certified images are not promoted any more"),
        (one.added, "promoted images are not certified"),
    )
    told = [f"{number:,} {what}" for number, what in changes if number]
    return " and ".join(told) or "the promoted images are not those that it was issued for"


def certificate_sentence(one: CertificateRecord, classes: ClassesSettings) -> str:
    """A certificate in one sentence."""
    name = classes.name_of(str(one.scope))
    of_what = "" if one.scope is AuditScope.ALL else f" to {name}"
    if one.kind is AuditKind.MISSED:
        return (
            f"at most {one.wrong:,} ({one.bound:.2%}) of {one.certified:,} images that lean to"
            f" {name} are not {name}, at {one.confidence:.4g}"
        )
    return (
        f"at most {one.wrong:,} ({one.bound:.2%}) of {one.certified:,} labels promoted{of_what}"
        f" are wrong, at {one.confidence:.4g} ({one.errors:,} of {one.sample:,} audited)"
    )


class ExportableLabels:
    """Which promoted images may go into a manifest, and what may be said about them.

    Under thresholds all may. Under the certified policy those that a certificate which holds
    is about, and with `provisional` all.
    """

    def __init__(self, catalogue: Catalogue, settings: Settings, *, provisional: bool) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._all = provisional or settings.promotion.policy != "certified"
        self._found = [
            one for one in current_certificates(catalogue) if one.kind is not AuditKind.MISSED
        ]
        promises = [one for one in self._found if one.kind is AuditKind.PROMISE]
        self._certified = [] if self._all else [self._ids_of(one) for one in promises]

    def __contains__(self, image_id: int) -> bool:
        """Whether a promoted image may go in."""
        return self._all or any(image_id in some for some in self._certified)

    def covers(self, image_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which promoted images of an array (n,) may go in."""
        allowed = np.full(len(image_ids), self._all, dtype=np.bool_)
        for some in self._certified:
            allowed |= some.holds(image_ids)
        return allowed

    def certified(self) -> CertifiedImages | None:
        """What the newest certificate says, and about which images; None without one."""
        one = certificate_of_promoted(self._found)
        if one is None:
            return None
        facts = certificate_json(one, self._settings.classes)
        if one.stale is not None:
            return CertifiedImages(facts=facts, image_ids=(), stale=True)
        beside = [other for other in self._found if self._belongs(other, one)]
        if beside:  # the other class has one of its own
            facts["beside"] = [certificate_json(each, self._settings.classes) for each in beside]
        image_ids = IdSet()
        for each in (one, *beside):
            for image_id in self._ids_of(each):
                image_ids.add(image_id)
        return CertifiedImages(facts=facts, image_ids=image_ids)

    def _ids_of(self, one: CertificateRecord) -> IdSet:
        if one.stale is not None:
            return IdSet()
        ids, _ = certificates.certified_labels(self._catalogue, one)
        return IdSet(ids.tolist())

    def _belongs(self, other: CertificateRecord, one: CertificateRecord) -> bool:
        apart = {one.scope, other.scope} == {AuditScope.POSITIVE, AuditScope.NEGATIVE}
        return apart and other.stale is None and other.kind is one.kind
