"""Restoring the labels of a manifest, with their origins, into a workspace.

Images are found by their bytes, so it does not matter where the files lie now. People's
labels come back as people's, with their origin; promotions come back as one round, which
can be rolled back and is revised by the next one. What a manifest does not hold, or this
workspace does not know, is said.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from curator.audits.audit import refuse_open_audit
from curator.base.files import cannot_write
from curator.base.progress import SILENT, Progress, Stage
from curator.base.values import Decision
from curator.base.vocabulary import CurrentLabel, Label, Method, Origin, Split
from curator.catalogue import rounds
from curator.catalogue.images import find_by_sha256
from curator.catalogue.labels import LabelRecord, current, record_decisions
from curator.catalogue.leases import lease
from curator.errors import DataError
from curator.export.diff import warn_if_changed
from curator.export.reading import Manifest, by_image, open_manifest
from curator.export.rows import ManifestRow
from curator.intake.answers import parse_label, printable
from curator.workspace import Workspace

SHOWN = 20
"""Most missing images that are named; all of them are counted."""

_TOGETHER = 5_000
_BLIND = (Origin.CALIBRATION, Origin.AUDIT)


@dataclass(slots=True, kw_only=True)
class Missed:
    """What could not be restored, as numbers of images.

    `images` are not in the catalogue (`examples` name some), `conflicts` are contradictions
    of which a manifest does not hold the two sides, `splits` came to another split here
    than they had, `groups` had a group of the user's, `kept` have another human label in
    this workspace, which stays. `rounds` are the numbers that promotions had.
    """

    images: int = 0
    examples: list[str] = field(default_factory=list)
    conflicts: int = 0
    splits: int = 0
    groups: int = 0
    kept: int = 0
    promotions: int = 0
    rounds: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did.

    `restored` is label → origin → images that have it now; `unchanged` images had it
    before. `unlabelled` images are in the manifest without a label. `round` is the round
    that holds the promotions, None if there were none.
    """

    manifest: Path
    images: int
    restored: dict[str, dict[str, int]]
    unchanged: int
    unlabelled: int
    round: int | None
    missed: Missed


def import_manifest(
    workspace: Workspace, path: Path, *, actor: str, progress: Progress = SILENT
) -> ImportReport:
    """Restore what a manifest says; a human label that stands here otherwise is kept.

    People's labels are one transaction, promotions another. Repeated, it changes nothing.
    Raises DataError, and restores nothing, if a row makes no sense or names a label that
    does not exist, or while an audit is open, whose answers it could bring.
    """
    manifest = open_manifest(path)
    warn_if_changed(manifest, progress)
    words = _Words(workspace, manifest)
    rows = _check(manifest, words, progress)
    restoring = _Restoring(workspace, words)
    try:
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.enter_context(lease(workspace.catalogue, "round"))
            refuse_open_audit(workspace, "a manifest")
            with progress.stage("people's labels", rows, "rows") as stage:
                entries = by_image(manifest.rows(), scratch)
                restoring.record(_chunks(entries, stage), actor)
            with progress.stage("promotions", rows, "rows") as stage:
                entries = by_image(manifest.rows(), scratch)
                restoring.promote(_chunks(entries, stage), manifest)
    except OSError as error:
        raise cannot_write(Path(tempfile.gettempdir()), error) from error
    return restoring.report(path)


class _Words:
    """The manifest's names of labels, as this workspace and its sidecar know them."""

    def __init__(self, workspace: Workspace, manifest: Manifest) -> None:
        own = workspace.settings.classes
        about = manifest.about or {}
        former = about.get("classes", {})
        self._own = {"positive": own.positive, "negative": own.negative}
        self._former = {
            str(former[one]): Label(one) for one in ("positive", "negative") if one in former
        }
        self.is_divided = bool(about.get("division"))
        self.known = [*(self._former or self._own.values()), *Label, CurrentLabel.CONFLICT]

    def label(self, text: str) -> Label | None:
        """What `text` means; None for a conflict. Raises KeyError if nothing."""
        if text == CurrentLabel.CONFLICT:
            return None
        # Names that were exchanged since must not exchange the labels.
        meant = self._former.get(text) if self._former else None
        if meant is None and (not self._former or text == Label.UNSURE):
            meant = parse_label(text, **self._own)
        if meant is None:
            raise KeyError(text)
        return meant


def _check(manifest: Manifest, words: _Words, progress: Progress) -> int:
    """Read every row before anything is changed; how many there are."""
    number = 0
    with progress.stage("read", None, "rows") as stage:
        for number, entry in enumerate(manifest.rows(), 1):
            stage.advance()
            if entry.label is None:
                continue
            try:
                words.label(entry.label)
                Origin(entry.origin or "")
            except KeyError:
                raise DataError(
                    f"{manifest.file}, row {number}: there is no label `{printable(entry.label)}`.",
                    f"Known are {', '.join(words.known)}. Nothing was restored.",
                ) from None
            except ValueError:
                raise DataError(
                    f"{manifest.file}, row {number}: there is no origin"
                    f" `{printable(entry.origin or '')}`.",
                    f"Known are {', '.join(Origin)}. Nothing was restored.",
                ) from None
    return number


def _chunks(
    entries: Iterator[tuple[ManifestRow, tuple[ManifestRow, ...]]], stage: Stage
) -> Iterator[list[ManifestRow]]:
    while some := list(islice(entries, _TOGETHER)):
        yield [entry for entry, _ in some]
        stage.advance(sum(1 + len(others) for _, others in some))


class _Restoring:
    """The two passes over a manifest, and what they came to."""

    def __init__(self, workspace: Workspace, words: _Words) -> None:
        self._workspace = workspace
        self._catalogue = workspace.catalogue
        self._words = words
        self._restored: Counter[tuple[str, str]] = Counter()
        self._rounds: set[int] = set()
        self._missed = Missed()
        self._images = self._unchanged = self._unlabelled = 0
        self._round: int | None = None
        self._fresh = True

    def record(self, chunks: Iterable[list[ManifestRow]], actor: str) -> None:
        """People's labels, all of them in one transaction."""
        decisions = [one for entries in chunks for one in self._decisions(entries)]
        record_decisions(
            self._catalogue,
            decisions,
            actor=actor,
            splits=self._workspace.settings.splits,
            seed=self._workspace.settings.runtime.seed,
        )

    def _decisions(self, entries: list[ManifestRow]) -> Iterator[Decision]:
        ids = self._find(entries)
        stand = current(self._catalogue, list(ids.values()))
        for entry in entries:
            self._images += 1
            image_id = ids.get(entry.sha256)
            if image_id is None:
                self._missed.images += 1
                if len(self._missed.examples) < SHOWN:
                    self._missed.examples.append(entry.path or entry.sha256)
                continue
            self._missed.groups += entry.group is not None and not entry.group.startswith("near:")
            decision = self._decision(entry, image_id, stand[image_id])
            if decision is not None:
                yield decision

    def _decision(self, entry: ManifestRow, image_id: int, now: LabelRecord) -> Decision | None:
        if entry.label is None:
            self._unlabelled += 1
            return None
        label, origin = self._words.label(entry.label), Origin(entry.origin or "")
        if label is None:
            self._missed.conflicts += 1
        if label is None or origin is Origin.PROMOTED:
            return None
        if now.standing is not None and now.origin is not Origin.PROMOTED:
            same = (str(now.standing), now.origin) == (str(label), origin)
            self._unchanged += same
            self._missed.kept += not same
            return None
        self._restored[self._name(label), origin] += 1
        return Decision(
            image_id=image_id,
            label=label,
            origin=origin,
            method=Method.BLIND if origin in _BLIND else Method.IMPORT,
        )

    def promote(self, chunks: Iterable[list[ManifestRow]], manifest: Manifest) -> None:
        """Promotions and scores, as one round; not over rounds that stand here already."""
        self._fresh = rounds.head(self._catalogue) is None
        token = rounds.begin_staging(self._catalogue)
        promoted = sum(self._stage(token, entries) for entries in chunks)
        if not promoted or not self._fresh:
            rounds.discard_staging(self._catalogue, token)
            return
        about: Mapping[str, Any] = manifest.about or {}
        set_now = self._workspace.settings.promotion.model_dump(mode="json")
        self._missed.rounds = sorted(self._rounds)
        done = rounds.commit_round(
            self._catalogue,
            token,
            rounds.NewRound(
                parent_id=rounds.head(self._catalogue),
                seed=self._workspace.settings.runtime.seed,
                settings={"promotion": about.get("thresholds") or set_now},
                outcome={
                    "imported": {
                        "manifest": printable(manifest.file.name),
                        "sha256": about.get("manifest", {}).get("sha256"),
                        "rounds": self._missed.rounds,
                    }
                },
                started_at=datetime.now(UTC),
            ),
        )
        self._round = done.round_id

    def _stage(self, token: str, entries: list[ManifestRow]) -> int:
        """Stage what a chunk says; how many promotions are new."""
        ids = self._find(entries)
        stand = current(self._catalogue, list(ids.values()))
        there = [(entry, ids[entry.sha256]) for entry in entries if entry.sha256 in ids]
        scored = [(one, image_id) for one, image_id in there if one.probability is not None]
        if scored:
            scores = np.array([one.probability for one, _ in scored], dtype=np.float64)
            who = np.array([image_id for _, image_id in scored], dtype=np.int64)
            rounds.stage_scores(self._catalogue, token, who, scores, scores)
        new = [
            (entry, image_id)
            for entry, image_id in there
            if entry.origin == Origin.PROMOTED and self._is_new(entry, stand[image_id])
        ]
        self._count_splits(there, stand)
        if not new:
            return 0
        if not self._fresh:
            self._missed.promotions += len(new)
            return 0
        self._rounds |= {entry.round for entry, _ in new if entry.round is not None}
        positive = [self._words.label(entry.label or "") is Label.POSITIVE for entry, _ in new]
        for is_positive in positive:
            label = Label.POSITIVE if is_positive else Label.NEGATIVE
            self._restored[self._name(label), Origin.PROMOTED] += 1
        surely = [float(is_positive) for is_positive in positive]
        found = [entry.probability for entry, _ in new]
        rounds.stage_decisions(
            self._catalogue,
            token,
            np.array([image_id for _, image_id in new], dtype=np.int64),
            promote=np.ones(len(new), dtype=bool),
            positive=np.array(positive),
            probabilities=np.array(
                [one if one is not None else sure for one, sure in zip(found, surely, strict=True)]
            ),
        )
        return len(new)

    def _is_new(self, entry: ManifestRow, now: LabelRecord) -> bool:
        if now.standing is None:
            return True
        label = self._words.label(entry.label or "")
        same = str(now.standing) == str(label) and now.origin is Origin.PROMOTED
        self._unchanged += same
        human = now.origin is not Origin.PROMOTED
        self._missed.kept += human
        return not same and not human

    def _count_splits(
        self, there: list[tuple[ManifestRow, int]], stand: Mapping[int, LabelRecord]
    ) -> None:
        if self._words.is_divided:
            return
        known = set(Split)
        self._missed.splits += sum(
            entry.split in known and entry.split != stand[image_id].split
            for entry, image_id in there
            if entry.origin != Origin.PROMOTED
        )

    def _find(self, entries: list[ManifestRow]) -> dict[str, int]:
        digests = [bytes.fromhex(entry.sha256) for entry in entries]
        found = find_by_sha256(self._catalogue, digests)
        return {digest.hex(): image_id for digest, image_id in found.items()}

    def _name(self, label: Label) -> str:
        return self._workspace.settings.classes.name_of(label)

    def report(self, path: Path) -> ImportReport:
        """What it all came to."""
        restored: dict[str, dict[str, int]] = {}
        for (label, origin), count in sorted(self._restored.items()):
            restored.setdefault(label, {})[origin] = count
        return ImportReport(
            manifest=path,
            images=self._images,
            restored=restored,
            unchanged=self._unchanged,
            unlabelled=self._unlabelled,
            round=self._round,
            missed=self._missed,
        )
