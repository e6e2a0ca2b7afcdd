"""Restoring the labels of a manifest, with their origins, into a workspace.

Images are found by their bytes, so it does not matter where the files lie now. People's
labels come back as people's, with their origin; promotions come back as one round, which
can be rolled back and is revised by the next one. What a manifest does not hold, or this
workspace does not know, is said.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from curator.base.chunks import chunked
from curator.base.files import cannot_write
from curator.base.progress import SILENT, Progress, Stage
from curator.base.values import Decision
from curator.base.vocabulary import LIKELIER, CurrentLabel, Label, Method, Origin, Split
from curator.catalogue import rounds
from curator.catalogue.audits import refuse_open_audit
from curator.catalogue.backups import backup_before
from curator.catalogue.images import find_by_sha256
from curator.catalogue.labels import LabelRecord, current, record_decisions
from curator.catalogue.leases import lease
from curator.errors import DataError, SettingsError
from curator.export.diff import warn_if_changed
from curator.export.reading import Manifest, by_image, open_manifest
from curator.export.rows import ManifestRow
from curator.intake.answers import printable
from curator.settings.file import check_settings
from curator.settings.sections import PromotionSettings
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
    Raises DataError, and restores nothing, if a row is not valid or names a label that
    does not exist, or while an audit is open, whose answers it could bring.
    """
    manifest = open_manifest(path)
    warn_if_changed(manifest, progress)
    words = _Words(workspace, manifest)
    _check_thresholds(manifest)
    rows = _check(manifest, words, progress)
    restoring = _Restoring(workspace, words)
    try:
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stack.enter_context(lease(workspace.catalogue, "round"))
            refuse_open_audit(workspace.catalogue, "a manifest")
            backup_before(workspace.catalogue, "import", workspace.settings.backup)
            with progress.stage("people's labels", rows, "rows") as stage:
                entries = by_image(manifest.rows(), scratch, manifest=manifest)
                restoring.record(_chunks(entries, stage), actor, str(path.absolute()))
            with progress.stage("promotions", rows, "rows") as stage:
                entries = by_image(manifest.rows(), scratch, manifest=manifest)
                restoring.promote(_chunks(entries, stage), manifest)
    except OSError as error:
        raise cannot_write(Path(tempfile.gettempdir()), error) from error
    return restoring.report(path)


class _Words:
    """The manifest's names of labels, as this workspace and its sidecar know them."""

    def __init__(self, workspace: Workspace, manifest: Manifest) -> None:
        own = workspace.settings.classes
        about = manifest.about or {}
        former = about.get("classes") or {}
        self._classes = own
        self._former = {
            str(former[label]): Label(label)
            for label in ("positive", "negative")
            if label in former
        }
        self.is_divided = bool(about.get("division"))
        self.all = [*(self._former or (own.positive, own.negative)), *Label, CurrentLabel.CONFLICT]

    def label(self, text: str) -> Label | None:
        """What `text` means; None for a conflict. Raises KeyError if nothing."""
        if text == CurrentLabel.CONFLICT:
            return None
        # Names that were exchanged since must not exchange the labels.
        label = self._former.get(text) if self._former else None
        if label is None and (not self._former or text == Label.UNSURE):
            label = self._classes.label_of(text)
        if label is None:
            raise KeyError(text)
        return label


def _check(manifest: Manifest, words: _Words, progress: Progress) -> int:
    """Read every row before anything is changed; how many there are."""
    rows = 0
    with progress.stage("read", None, "rows") as stage:
        for where, row in manifest.numbered_rows():
            rows += 1
            stage.advance()
            problem = _problem(row, words)
            if problem is not None:
                text, advice = problem
                raise DataError(
                    f"{manifest.file}, {where}: {text}.", f"{advice} Nothing was restored."
                )
    return rows


def _problem(row: ManifestRow, words: _Words) -> tuple[str, str] | None:
    """What is wrong with a row, and what to do about it; None if nothing is."""
    if (row.label is None) != (row.origin is None):
        which = "a label without an origin" if row.origin is None else "an origin without a label"
        return f"it has {which}", "Export it again."
    if row.label is None or row.origin is None:
        return None
    if row.origin not in {*Origin, LIKELIER}:
        return f"there is no origin `{printable(row.origin)}`", f"Known are {', '.join(Origin)}."
    try:
        label = words.label(row.label)
    except KeyError:
        return f"there is no label `{printable(row.label)}`", f"Known are {', '.join(words.all)}."
    if _origin_of(row) is Origin.PROMOTED and label not in (Label.POSITIVE, Label.NEGATIVE):
        return f"no round promotes an image to `{printable(row.label)}`", "Export it again."
    return None


def _origin_of(row: ManifestRow) -> Origin:
    """The origin that a labelled row has in a catalogue: there a round promoted the likelier."""
    return Origin.PROMOTED if row.origin == LIKELIER else Origin(row.origin or "")


def _check_thresholds(manifest: Manifest) -> None:
    """Those of the sidecar become those of a round, so they must be some."""
    thresholds = (manifest.about or {}).get("thresholds") or {}
    try:
        check_settings(
            {
                "promotion": {
                    name: thresholds[name]
                    for name in PromotionSettings.model_fields
                    if name in thresholds
                }
            },
            f"The thresholds in the sidecar of {manifest.file}",
        )
    except SettingsError as error:
        raise DataError(
            error.problem, "Restore the sidecar, or move it away. Nothing was restored."
        ) from error


def _chunks(images: Iterator[Sequence[ManifestRow]], stage: Stage) -> Iterator[list[ManifestRow]]:
    """The first rows of images, some thousand at a time; `stage` counts all of their rows."""
    for chunk in chunked(images, _TOGETHER):
        yield [rows[0] for rows in chunk]
        stage.advance(sum(map(len, chunk)))


class _Restoring:
    """The two passes over a manifest, and what they came to."""

    def __init__(self, workspace: Workspace, words: _Words) -> None:
        self._catalogue = workspace.catalogue
        self._settings = workspace.settings
        self._words = words
        self._restored: Counter[tuple[str, str]] = Counter()
        self._missed = Missed()
        self._images = self._unchanged = self._unlabelled = 0
        self._round: int | None = None

    def record(self, chunks: Iterable[list[ManifestRow]], actor: str, file: str) -> None:
        """People's labels, all of them in one transaction."""
        record_decisions(
            self._catalogue,
            [decision for rows in chunks for decision in self._decisions(rows)],
            actor=actor,
            file=file,
            splits=self._settings.splits,
            seed=self._settings.runtime.seed,
        )

    def _decisions(self, rows: list[ManifestRow]) -> Iterator[Decision]:
        image_ids, labels_now = self._read_current(rows)
        for row in rows:
            self._images += 1
            image_id = image_ids.get(row.sha256)
            if image_id is None:
                self._missed.images += 1
                if len(self._missed.examples) < SHOWN:
                    self._missed.examples.append(row.path or row.sha256)
                continue
            self._missed.groups += row.group is not None and not row.group.startswith("near:")
            if row.label is None:
                self._unlabelled += 1
                continue
            label, origin = self._words.label(row.label), _origin_of(row)
            if label is None:
                self._missed.conflicts += 1
            if label is None or origin is Origin.PROMOTED:
                continue
            now = labels_now[image_id]
            if now.standing is not None and now.origin is not Origin.PROMOTED:
                is_same = (str(now.standing), now.origin) == (str(label), origin)
                self._unchanged += is_same
                self._missed.kept += not is_same
                continue
            self._count_restored(label, origin)
            yield Decision(
                image_id=image_id,
                label=label,
                origin=origin,
                method=Method.BLIND if origin in _BLIND else Method.IMPORT,
            )

    def promote(self, chunks: Iterable[list[ManifestRow]], manifest: Manifest) -> None:
        """Promotions and scores, as one round; not over rounds that this workspace has."""
        has_rounds = rounds.head(self._catalogue) is not None
        token = rounds.begin_staging(self._catalogue)
        former_rounds: set[int] = set()
        promoted = 0
        for rows in chunks:
            new = self._stage_scores(token, rows)
            if has_rounds:
                self._missed.promotions += len(new)
            elif new:
                promoted += len(new)
                former_rounds |= {row.round for row, _ in new if row.round is not None}
                self._stage_promotions(token, new)
        if not promoted:
            rounds.discard_staging(self._catalogue, token)
            return
        about: Mapping[str, Any] = manifest.about or {}
        set_now = self._settings.promotion.model_dump(mode="json")
        self._missed.rounds = sorted(former_rounds)
        committed = rounds.commit_round(
            self._catalogue,
            token,
            rounds.NewRound(
                parent_id=rounds.head(self._catalogue),
                seed=self._settings.runtime.seed,
                settings={"promotion": about.get("thresholds") or set_now},
                outcome={
                    "imported": {
                        "manifest": printable(manifest.file.name),
                        "sha256": (about.get("manifest") or {}).get("sha256"),
                        "rounds": self._missed.rounds,
                    }
                },
                started_at=datetime.now(UTC),
            ),
        )
        self._round = committed.round_id

    def _stage_scores(self, token: str, rows: list[ManifestRow]) -> list[tuple[ManifestRow, int]]:
        """Stage the scores of a chunk; its new promotions with the ids of their images."""
        image_ids, labels_now = self._read_current(rows)
        catalogued = [(row, image_ids[row.sha256]) for row in rows if row.sha256 in image_ids]
        scored = [
            (row.probability, image_id)
            for row, image_id in catalogued
            if row.probability is not None
        ]
        if scored:
            scores, scored_ids = (np.array(column) for column in zip(*scored, strict=True))
            rounds.stage_scores(self._catalogue, token, scored_ids, scores, scores)
        new = []
        for row, image_id in catalogued:
            now = labels_now[image_id]
            if row.origin and _origin_of(row) is Origin.PROMOTED:
                if self._is_new(row, now):
                    new.append((row, image_id))
            elif not self._words.is_divided:
                is_split = row.split in set(Split)
                self._missed.splits += is_split and row.split != now.split
        return new

    def _is_new(self, row: ManifestRow, now: LabelRecord) -> bool:
        if now.standing is None:
            return True
        is_human = now.origin is not Origin.PROMOTED
        label = self._words.label(row.label or "")
        is_same = str(now.standing) == str(label) and not is_human
        self._unchanged += is_same
        self._missed.kept += is_human
        return not is_same and not is_human

    def _stage_promotions(self, token: str, new: list[tuple[ManifestRow, int]]) -> None:
        positive = [self._words.label(row.label or "") is Label.POSITIVE for row, _ in new]
        for is_positive in positive:
            self._count_restored(Label.POSITIVE if is_positive else Label.NEGATIVE, Origin.PROMOTED)
        # Manifests of earlier versions have the probability of a promotion as `probability`. A
        # promotion without any counts as certain.
        probabilities = [
            next(
                (p for p in (row.promoted_probability, row.probability) if p is not None),
                float(is_positive),
            )
            for (row, _), is_positive in zip(new, positive, strict=True)
        ]
        rounds.stage_decisions(
            self._catalogue,
            token,
            np.array([image_id for _, image_id in new], dtype=np.int64),
            promote=np.ones(len(new), dtype=bool),
            positive=np.array(positive),
            probabilities=np.array(probabilities),
        )

    def _read_current(
        self, rows: list[ManifestRow]
    ) -> tuple[dict[str, int], Mapping[int, LabelRecord]]:
        """SHA-256 → image id of the images that are catalogued, and their current labels."""
        digests = [bytes.fromhex(row.sha256) for row in rows]
        image_ids = find_by_sha256(self._catalogue, digests)
        labels_now = current(self._catalogue, list(image_ids.values()))
        return {digest.hex(): image_id for digest, image_id in image_ids.items()}, labels_now

    def _count_restored(self, label: Label, origin: Origin) -> None:
        self._restored[self._settings.classes.name_of(label), origin] += 1

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
