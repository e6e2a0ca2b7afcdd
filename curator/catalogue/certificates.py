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
from sqlalchemy.engine import Connection

from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.base.vocabulary import AuditKind, AuditScope, AuditState, Label, Origin
from curator.catalogue import audit_answers
from curator.catalogue.audit_answers import AuditAnswers
from curator.catalogue.bulk import Fetched, Query, column, values_of
from curator.catalogue.constructs import raw_rows, within
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
from curator.errors import BusyError


class Staleness(StrEnum):
    """Why a certificate does not speak about what stands promoted now."""

    ROLLED_BACK = "rolled-back"
    OTHER_LABELS = "other-labels"
    SUPERSEDED = "superseded"


class DrawSource(StrEnum):
    """Where the chance of a draw came from: only the last could not be known beforehand."""

    SEED = "seed"
    CHOSEN_SALT = "chosen-salt"
    RANDOM_SALT = "random-salt"


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
class CertificateRecord(NewCertificate):
    """A certificate that was issued, and whether it still holds for what is promoted.

    `stale` is None while it does; otherwise `missing` certified images are not promoted any
    more, and `added` promoted ones are not certified. `commitment` was shown when its audit was
    opened; it is empty for audits of older versions.
    """

    certificate_id: int
    attempt: int
    kind: AuditKind
    scope: AuditScope
    round_id: int | None
    frame_id: int
    frame_digest: str
    frame_size: int
    risk: float
    issued_at: datetime
    draw_source: DrawSource
    commitment: str
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
        audit_answers.end(connection, new.audit_id, AuditState.CLOSED, tested=tested)
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
        audit_answers.end(connection, new.audit_id, AuditState.CLOSED, tested=tested)
        return _issue(connection, new, head_of(connection))


def close_unproven(catalogue: Catalogue, audit_id: int, *, tested: AuditAnswers) -> None:
    """Close an audit that proved nothing; no label changes. Raises BusyError as `issue` does."""
    with catalogue.write() as connection:
        audit_answers.end(connection, audit_id, AuditState.CLOSED, tested=tested)


def list_certificates(catalogue: Catalogue) -> list[CertificateRecord]:
    """All certificates, the newest first."""
    with catalogue.read() as connection:
        return _records(connection)


def promoted_labels(
    catalogue: Catalogue, scope: AuditScope = AuditScope.ALL, *, usable_only: bool = True
) -> tuple[IntArray, BoolArray, FloatArray]:
    """Images that stand promoted, by id; whether to the positive class; P(positive) then.

    Without `usable_only`, those that cannot be used at present are there, too.
    """
    state = ImageState.c
    conditions = _is_promoted(scope)[0 if usable_only else 1 :]
    query = sa.select(state.image_id, state.standing, state.probability).where(*conditions)
    with catalogue.read() as connection:
        rows = raw_rows(connection.execute(query.order_by(state.image_id)))
    ids, words, probability = zip(*rows, strict=True) if rows else ((), (), ())
    positive = column((word == Label.POSITIVE for word in words), np.bool_)
    return column(ids, np.int64), positive, column(probability, np.float64)


def certified_labels(catalogue: Catalogue, record: CertificateRecord) -> tuple[IntArray, BoolArray]:
    """The images that a certificate is about, ordered by id, and whether they are positive."""
    with catalogue.read() as connection:
        query = _select_certified(record.frame_id, record.audit_id, record.place_limit, record.left)
        rows = raw_rows(connection.execute(query.order_by(FrameMember.c.image_id)))
    ids, words = zip(*rows, strict=True) if rows else ((), ())
    return column(ids, np.int64), column((word == Label.POSITIVE for word in words), np.bool_)


def _issue(connection: Connection, new: NewCertificate, round_id: int | None) -> CertificateRecord:
    newest = connection.execute(sa.select(sa.func.max(LabelEvent.c.id))).scalar_one() or 0
    values = values_of(new)
    details = {
        **values.pop("details"),
        "claim": values.pop("claim"),
        "wrong": values.pop("wrong"),
        "left": [int(image_id) for image_id in values.pop("left")],
        "last_event": newest,
    }
    insert = sa.insert(Certificate).values(
        **values,
        round_id=round_id,
        state="valid",
        stale_reason="",
        details=details,
        issued_at=now(),
    )
    certificate_id: int = connection.execute(insert.returning(Certificate.c.id)).scalar_one()
    this = Certificate.c.id == certificate_id
    (record,) = _records(connection, this, whole=True)
    _, ids = _promoted(connection, record.scope)
    details |= {"exact": record.stale is None, "ids": ids}
    connection.execute(sa.update(Certificate).where(this).values(details=details))
    return record


def _records(
    connection: Connection, *conditions: sa.ColumnElement[bool], whole: bool = False
) -> list[CertificateRecord]:
    """Certificates, the newest first; `whole` compares all promoted images, not those since."""
    query = (
        sa.select(
            *Certificate.c,
            Audit.c.attempt,
            Audit.c.scope,
            Audit.c.design,
            Audit.c.level,
            Audit.c.salt,
            Audit.c.frame_id,
            AuditFrame.c.digest.label("frame_digest"),
            AuditFrame.c.size.label("frame_size"),
        )
        .join(Audit, Audit.c.id == Certificate.c.audit_id)
        .join(AuditFrame, AuditFrame.c.id == Audit.c.frame_id)
        .where(*conditions)
        .order_by(Certificate.c.id.desc())
    )
    lineage = set(lineage_of(connection, head_of(connection)))
    certificates: list[CertificateRecord] = []
    newer: set[tuple[AuditKind, AuditScope]] = set()
    for row in connection.execute(query).all():
        kind, scope = AuditKind(row.design["kind"]), row.scope
        superseded = (kind, scope) in newer or (kind, AuditScope.ALL) in newer
        newer.add((kind, scope))
        certificates.append(_record(connection, row, lineage, superseded=superseded, whole=whole))
    return certificates


def _record(
    connection: Connection, row: Fetched, lineage: set[int], *, superseded: bool, whole: bool
) -> CertificateRecord:
    stale, missing, added = _compared(connection, row, lineage, superseded, whole)
    hidden = ("claim", "wrong", "left", "last_event", "exact", "ids")
    return CertificateRecord(
        certificate_id=row.id,
        audit_id=row.audit_id,
        attempt=row.attempt,
        kind=AuditKind(row.design["kind"]),
        scope=row.scope,
        round_id=row.round_id,
        frame_id=row.frame_id,
        frame_digest=row.frame_digest,
        frame_size=row.frame_size,
        place_limit=row.place_limit,
        certified=row.certified,
        left=row.details["left"],
        max_error=row.max_error,
        bound=row.bound,
        wrong=row.details["wrong"],
        confidence=row.confidence,
        sample=row.sample,
        errors=row.errors,
        claim=row.details["claim"],
        risk=row.level,
        details={name: value for name, value in row.details.items() if name not in hidden},
        issued_at=row.issued_at,
        draw_source=DrawSource.SEED
        if row.salt is None
        else DrawSource.CHOSEN_SALT
        if row.design["salt_chosen"]
        else DrawSource.RANDOM_SALT,
        commitment=row.design.get("commitment", ""),
        stale=stale,
        missing=missing,
        added=added,
    )


def _compared(
    connection: Connection, row: Fetched, lineage: set[int], superseded: bool, whole: bool
) -> tuple[Staleness | None, int, int]:
    """Why a certificate is stale; certified images not promoted, and promoted not certified."""
    if row.design["kind"] == AuditKind.MISSED:
        return None, 0, 0  # about what images are, not about what stands
    if superseded:
        return Staleness.SUPERSEDED, 0, 0
    if row.round_id is not None and row.round_id not in lineage:
        return Staleness.ROLLED_BACK, 0, 0
    promoted, ids = _promoted(connection, row.scope)
    since = None if whole else int(row.details["last_event"])
    added = connection.execute(_count_added(row, since)).scalar_one()
    missing = row.certified - (promoted - added)
    # One that can be used again may stand where one that vanished stood, without an event.
    inexact = not whole and (not row.details["exact"] or row.details.get("ids", ids) != ids)
    stale = Staleness.OTHER_LABELS if added or missing or inexact else None
    return stale, missing, added


def _promoted(connection: Connection, scope: AuditScope) -> tuple[int, int]:
    """How many images stand promoted, and the sum of their ids."""
    state = ImageState.c
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(state.image_id), 0))
    count, ids = connection.execute(query.where(*_is_promoted(scope))).one()
    return int(count), int(ids)


def _is_promoted(scope: AuditScope) -> list[sa.ColumnElement[bool]]:
    words = [str(scope)] if scope is not AuditScope.ALL else [Label.POSITIVE, Label.NEGATIVE]
    state = ImageState.c
    return [state.usable == 1, state.standing.in_(words), state.origin == Origin.PROMOTED]


def _count_added(row: Fetched, since: int | None) -> sa.Select[int]:
    """Promoted images without this label in the certificate, of those with an event since."""
    state = ImageState.c
    certified = _select_certified(row.frame_id, row.audit_id, row.place_limit, row.details["left"])
    covered = certified.where(
        FrameMember.c.image_id == state.image_id, FrameMember.c.label == state.standing
    ).correlate(ImageState)
    query = sa.select(sa.func.count()).select_from(ImageState)
    query = query.where(*_is_promoted(row.scope), ~covered.exists())
    if since is not None:
        touched = sa.select(LabelEvent.c.image_id).where(LabelEvent.c.id > since)
        query = query.where(state.image_id.in_(touched))
    return query


def _select_certified(frame_id: int, audit_id: int, limit: int, left: Sequence[int]) -> Query:
    member = FrameMember.c
    # Images that were drawn and not asked, because the test ended before, stay in the set.
    drawn = sa.exists().where(
        AuditItem.c.audit_id == audit_id,
        AuditItem.c.image_id == member.image_id,
        AuditItem.c.outcome.is_not(None),
    )
    query: Query = sa.select(member.image_id, member.label).where(
        member.frame_id == frame_id, member.rank < limit, ~drawn
    )
    return query.where(~within(member.image_id, left)) if left else query
