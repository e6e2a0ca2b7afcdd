"""Short ways to fill a real catalogue for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from curator.base.values import Decision, FileStamp, InspectedFile
from curator.base.vocabulary import Label, Method, Origin, Quarantine
from curator.catalogue import files, labels, rounds, sources
from curator.catalogue.engine import Catalogue

ROOT = b"/data/pictures"


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def inspected(
    path: bytes, content: bytes, *, quarantine: Quarantine | None = None, mtime_ns: int = 1
) -> InspectedFile:
    usable = quarantine is None
    digest = sha(content)
    return InspectedFile(
        stamp=FileStamp(path=path, size=len(content), mtime_ns=mtime_ns),
        sha256=digest,
        width=40 if usable else None,
        height=30 if usable else None,
        format="PNG",
        mode="RGB",
        perceptual_hash=int.from_bytes(digest[8:16], "big") if usable else None,
        quarantine=quarantine,
        detail="" if usable else "made so",
    )


def unread(path: bytes, reason: Quarantine = Quarantine.UNREADABLE) -> InspectedFile:
    return InspectedFile(
        stamp=FileStamp(path=path, size=1, mtime_ns=1), sha256=None, quarantine=reason
    )


def add_images(
    catalogue: Catalogue, count: int, *, start: int = 0, source: str = "pictures"
) -> list[int]:
    """Catalogue `count` images with paths 00000.png, …; their ids."""
    folder = sources.add_source(catalogue, name=source, root=b"/data/" + source.encode())
    some = [inspected(b"%05d.png" % i, b"content %d" % i) for i in range(start, start + count)]
    recorded = files.record_files(catalogue, folder.source_id, some)
    return [file.image_id for file in recorded if file.image_id is not None]


def decision(
    image_id: int,
    label: Label | str,
    *,
    origin: Origin = Origin.SEED,
    method: Method = Method.IMPORT,
    **more: Any,
) -> Decision:
    return Decision(image_id=image_id, label=Label(label), origin=origin, method=method, **more)


def say(
    catalogue: Catalogue,
    image_ids: int | Iterable[int],
    label: Label | str,
    *,
    origin: Origin = Origin.SEED,
    method: Method = Method.IMPORT,
    actor: str = "tester",
    **more: Any,
) -> labels.RecordReport:
    """A person gives all these images one label."""
    ids = [image_ids] if isinstance(image_ids, int) else image_ids
    decisions = [decision(i, label, origin=origin, method=method) for i in ids]
    return labels.record_decisions(catalogue, decisions, actor=actor, **more)


def stage(
    catalogue: Catalogue,
    *,
    promote: dict[int, Label] | None = None,
    revoke: Sequence[int] = (),
    scores: dict[int, float] | None = None,
) -> str:
    """Stage a round's decisions and scores; the token."""
    token = rounds.begin_staging(catalogue)
    wanted = [(i, True, label is Label.POSITIVE) for i, label in (promote or {}).items()]
    wanted += [(i, False, True) for i in revoke]
    if wanted:
        ids, promotes, positive = (np.array(values) for values in zip(*wanted, strict=True))
        rounds.stage_decisions(
            catalogue,
            token,
            ids,
            promote=promotes,
            positive=positive,
            probabilities=np.where(positive, 0.995, 0.005),
        )
    if scores:
        values = np.array(list(scores.values()))
        rounds.stage_scores(catalogue, token, np.array(list(scores)), values, values)
    return token


def new_round(parent: int | None, **more: Any) -> rounds.NewRound:
    return rounds.NewRound(
        parent_id=parent, seed=0, settings={}, outcome={}, started_at=datetime.now(UTC), **more
    )


def run_round(
    catalogue: Catalogue,
    *,
    promote: dict[int, Label] | None = None,
    revoke: Sequence[int] = (),
    scores: dict[int, float] | None = None,
) -> rounds.RoundRecord:
    """Stage and commit a round on the present head."""
    token = stage(catalogue, promote=promote, revoke=revoke, scores=scores)
    return rounds.commit_round(catalogue, token, new_round(rounds.head(catalogue)))


def standings(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, tuple[str, str] | None]:
    """Standing and origin of each image, None where it is unlabelled."""
    found = labels.current(catalogue, image_ids)
    return {
        i: None if (now := found[i]).standing is None else (str(now.standing), str(now.origin))
        for i in image_ids
    }


def scored(catalogue: Catalogue, count: int = 20) -> list[int]:
    """Images with the scores 1/32, 2/32, …; the first is promoted, and the last two."""
    ids = add_images(catalogue, count)
    run_round(
        catalogue,
        scores={image: image / 32 for image in ids},
        promote={ids[0]: Label.NEGATIVE, ids[-1]: Label.POSITIVE, ids[-2]: Label.POSITIVE},
    )
    return ids
