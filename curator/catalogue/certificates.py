"""Certificates: issued in the transaction that makes them true, and compared with what stands.

A certificate is about exactly the images that its audit left promoted and unseen. Whether it
still speaks about what stands promoted is not kept but worked out: the promoted images are
the certified ones if there are as many of them and no image that anything was said about
since is promoted without being certified. That looks at what is new, not at all images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from curator.base.vocabulary import AuditKind, AuditScope, AuditState, Label, Origin
from curator.catalogue import audits
from curator.catalogue.audits import AuditAnswers
from curator.catalogue.bulk import Fetched, Query, column, within
from curator.catalogue.current_labels.sql import head_of, lineage_of
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import (
    Audit,
    AuditFrame,
    AuditItem,
    Certificate,
    FrameMember,
    ImageState,
    LabelEvent,
)
from curator.catalogue.rounds import NewRound, RoundRecord, commit_on
from curator.catalogue.sqlite import raw_rows
from curator.errors import BusyError


class Staleness(StrEnum):
    """Why a certificate does not speak about what stands promoted now."""

    ROLLED_BACK = "rolled-back"
    OTHER_LABELS = "other-labels"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCertificate:
    """What an audit proved.

    `place_limit` is where the certified part of the frame ends, `certified` how many images
    of it stay promoted and unseen; `left` are unseen images before that place which are
    no part of it. `wrong` is the bound as a number of images, `claim` the digest of images and
    labels. `details` holds what else a reader needs.
    """

    audit_id: int
    place_limit: int
    certified: int
    left: Sequence[int]
    max_error: float
    bound: float
    wrong: int
    confidence: float
    sample: int
    errors: int
    claim: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRecord:
    """A certificate that was issued, and whether it still holds for what stands promoted.

    `stale` is None while it does; then `missing` certified images are not promoted any more,
    and `added` promoted ones are not certified.
    """

    certificate_id: int
    audit_id: int
    attempt: int
    kind: AuditKind
    scope: AuditScope
    round_id: int | None
    frame_digest: str
    frame_size: int
    place_limit: int
    certified: int
    max_error: float
    bound: float
    wrong: int
    confidence: float
    sample: int
    errors: int
    claim: str
    risk: float
    details: Mapping[str, Any]
    issued_at: datetime
    stale: Staleness | None
    missing: int = 0
    added: int = 0


def certify(
    catalogue: Catalogue,
    new: NewCertificate,
    token: str,
    round_: NewRound,
    *,
    tested: AuditAnswers,
) -> tuple[RoundRecord, CertificateRecord]:
    """Close an audit, promote and revoke as staged, and issue its certificate, all at once.

    Raises BusyError, and changes nothing, if then other images would stand promoted than the
    certified ones, or if the answers are not those that were `tested`.
    """
    with catalogue.write() as connection:
        audits.end(connection, new.audit_id, AuditState.CLOSED, tested=tested)
        committed = commit_on(connection, token, round_)
        record = _issue(connection, new, committed.round_id)
        if record.stale is not None:
            raise BusyError(
                "Labels changed while the audit was tested.",
                "Nothing was changed; run `curator certify` again.",
            )
    catalogue.checkpoint()
    return committed, record


def issue(catalogue: Catalogue, new: NewCertificate, *, tested: AuditAnswers) -> CertificateRecord:
    """Close an audit and issue a certificate about what stands promoted, changing no label.

    Raises BusyError, and changes nothing, if the answers are not those that were `tested`.
    """
    with catalogue.write() as connection:
        audits.end(connection, new.audit_id, AuditState.CLOSED, tested=tested)
        return _issue(connection, new, head_of(connection))


def close_unproven(catalogue: Catalogue, audit_id: int, *, tested: AuditAnswers) -> None:
    """Close an audit that proved nothing; no label changes. Raises BusyError as `issue` does."""
    with catalogue.write() as connection:
        audits.end(connection, audit_id, AuditState.CLOSED, tested=tested)


def list_certificates(catalogue: Catalogue) -> list[CertificateRecord]:
    """All certificates, the newest first."""
    with catalogue.read() as connection:
        return _records(connection, sa.true())


def promoted_labels(
    catalogue: Catalogue, scope: AuditScope = AuditScope.ALL, *, usable_only: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]]:
    """Images that stand promoted, by id; whether to the positive class; P(positive) then.

    Without `usable_only`, those that cannot be used at present are there, too.
    """
    state = ImageState.c
    conditions = _stands_promoted(scope)[0 if usable_only else 1 :]
    query = sa.select(state.image_id, state.standing, state.probability).where(*conditions)
    with catalogue.read() as connection:
        rows = raw_rows(connection.execute(query.order_by(state.image_id)))
    ids, words, probability = zip(*rows, strict=True) if rows else ((), (), ())
    positive = column((word == Label.POSITIVE for word in words), np.bool_)
    return column(ids, np.int64), positive, column(probability, np.float64)


def certified_labels(
    catalogue: Catalogue, record: CertificateRecord
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The images that a certificate is about, ordered by id, and whether they are positive."""
    with catalogue.read() as connection:
        frame_id, left = _frame_and_left(connection, record.certificate_id)
        query = _select_certified(frame_id, record.audit_id, record.place_limit, left)
        rows = raw_rows(connection.execute(query.order_by(FrameMember.c.image_id)))
    ids, words = zip(*rows, strict=True) if rows else ((), ())
    return column(ids, np.int64), column((word == Label.POSITIVE for word in words), np.bool_)


def _issue(connection: Connection, new: NewCertificate, round_id: int | None) -> CertificateRecord:
    newest = connection.execute(sa.select(sa.func.max(LabelEvent.c.id))).scalar_one() or 0
    details = {
        **new.details,
        "claim": new.claim,
        "wrong": new.wrong,
        "left": [int(one) for one in new.left],
        "last_event": newest,
    }
    values = {
        "audit_id": new.audit_id,
        "round_id": round_id,
        "place_limit": new.place_limit,
        "certified": new.certified,
        "max_error": new.max_error,
        "bound": new.bound,
        "confidence": new.confidence,
        "sample": new.sample,
        "errors": new.errors,
        "state": "valid",
        "stale_reason": "",
        "issued_at": now(),
    }
    insert = sa.insert(Certificate).values(**values, details=details).returning(Certificate.c.id)
    certificate_id = int(connection.execute(insert).scalar_one())
    (record,) = _records(connection, Certificate.c.id == certificate_id, whole=True)
    _, ids = _promoted(connection, record.scope)
    details |= {"exact": record.stale is None, "ids": ids}
    kept = sa.update(Certificate).where(Certificate.c.id == certificate_id)
    connection.execute(kept.values(details=details))
    return record


def _records(
    connection: Connection, condition: sa.ColumnElement[bool], *, whole: bool = False
) -> list[CertificateRecord]:
    columns = [one for one in Certificate.c if one.name != "state"]
    query = (
        sa.select(
            *columns,
            Audit.c.attempt,
            Audit.c.scope,
            Audit.c.design,
            Audit.c.level,
            Audit.c.frame_id,
            AuditFrame.c.digest.label("frame_digest"),
            AuditFrame.c.size.label("frame_size"),
        )
        .join(Audit, Audit.c.id == Certificate.c.audit_id)
        .join(AuditFrame, AuditFrame.c.id == Audit.c.frame_id)
        .where(condition)
        .order_by(Certificate.c.id.desc())
    )
    standing = set(lineage_of(connection, head_of(connection)))
    found: list[CertificateRecord] = []
    claimed: set[tuple[AuditKind, AuditScope]] = set()
    for row in connection.execute(query).all():
        kind, scope = AuditKind(row.design["kind"]), AuditScope(row.scope)
        later = (kind, scope) in claimed or (kind, AuditScope.ALL) in claimed
        claimed.add((kind, scope))
        found.append(_record(connection, row, standing, superseded=later, whole=whole))
    return found


def _record(
    connection: Connection, row: Fetched, standing: set[int], *, superseded: bool, whole: bool
) -> CertificateRecord:
    stale, missing, added = _compared(connection, row, standing, superseded, whole)
    details = row.details
    hidden = ("claim", "wrong", "left", "last_event", "exact", "ids")
    return CertificateRecord(
        certificate_id=row.id,
        audit_id=row.audit_id,
        attempt=row.attempt,
        kind=AuditKind(row.design["kind"]),
        scope=AuditScope(row.scope),
        round_id=row.round_id,
        frame_digest=row.frame_digest,
        frame_size=row.frame_size,
        place_limit=row.place_limit,
        certified=row.certified,
        max_error=row.max_error,
        bound=row.bound,
        wrong=details["wrong"],
        confidence=row.confidence,
        sample=row.sample,
        errors=row.errors,
        claim=details["claim"],
        risk=row.level,
        details={name: value for name, value in details.items() if name not in hidden},
        issued_at=row.issued_at,
        stale=stale,
        missing=missing,
        added=added,
    )


def _compared(
    connection: Connection, row: Fetched, standing: set[int], superseded: bool, whole: bool
) -> tuple[Staleness | None, int, int]:
    """Why a certificate is stale; certified images not promoted, and promoted not certified."""
    if row.design["kind"] == AuditKind.MISSED:
        return None, 0, 0  # about what images are, not about what stands
    if superseded:
        return Staleness.SUPERSEDED, 0, 0
    if row.round_id is not None and row.round_id not in standing:
        return Staleness.ROLLED_BACK, 0, 0
    scope = AuditScope(row.scope)
    promoted, ids = _promoted(connection, scope)
    since = None if whole else int(row.details["last_event"])
    added = connection.execute(_count_added(row, scope, since)).scalar_one()
    missing = row.certified - (promoted - added)
    # One that can be used again may stand where one that vanished stood, without an event.
    inexact = not whole and (not row.details["exact"] or row.details.get("ids", ids) != ids)
    stale = Staleness.OTHER_LABELS if added or missing or inexact else None
    return stale, missing, added


def _promoted(connection: Connection, scope: AuditScope) -> tuple[int, int]:
    """How many images stand promoted, and the sum of their ids."""
    state = ImageState.c
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(state.image_id), 0))
    count, ids = connection.execute(query.where(*_stands_promoted(scope))).one()
    return int(count), int(ids)


def _stands_promoted(scope: AuditScope) -> list[sa.ColumnElement[bool]]:
    words = [str(scope)] if scope is not AuditScope.ALL else [Label.POSITIVE, Label.NEGATIVE]
    state = ImageState.c
    return [state.usable == 1, state.standing.in_(words), state.origin == Origin.PROMOTED]


def _count_added(row: Fetched, scope: AuditScope, since: int | None) -> sa.Select[int]:
    """Promoted images without this label in the certificate, of those with an event since."""
    state = ImageState.c
    certified = _select_certified(row.frame_id, row.audit_id, row.place_limit, row.details["left"])
    covered = certified.where(
        FrameMember.c.image_id == state.image_id, FrameMember.c.label == state.standing
    ).correlate(ImageState)
    query = sa.select(sa.func.count()).select_from(ImageState)
    query = query.where(*_stands_promoted(scope), ~covered.exists())
    if since is not None:
        touched = sa.select(LabelEvent.c.image_id).where(LabelEvent.c.id > since)
        query = query.where(state.image_id.in_(touched))
    return query


def _select_certified(frame_id: int, audit_id: int, limit: int, left: Sequence[int]) -> Query:
    member = FrameMember.c
    drawn = sa.exists().where(
        AuditItem.c.audit_id == audit_id, AuditItem.c.image_id == member.image_id
    )
    query: Query = sa.select(member.image_id, member.label).where(
        member.frame_id == frame_id, member.place < limit, ~drawn
    )
    return query.where(~within(member.image_id, left)) if left else query


def _frame_and_left(connection: Connection, certificate_id: int) -> tuple[int, list[int]]:
    query = (
        sa.select(Audit.c.frame_id, Certificate.c.details)
        .join(Audit, Audit.c.id == Certificate.c.audit_id)
        .where(Certificate.c.id == certificate_id)
    )
    frame_id, details = connection.execute(query).one()
    return frame_id, list(details["left"])
