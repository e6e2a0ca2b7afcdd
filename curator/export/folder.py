"""Exports that hold the images themselves: trees of files, and shards.

First the plan: which image becomes which file, as rows on disk, whose digest says whether
an interrupted folder is this one. Then the files, each compared with its hash. The folder
gets its name when everything in it is there; until then it is called `NAME.unfinished`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from curator.audits.certificate import CertifiedImages
from curator.base.files import cannot_write
from curator.base.progress import Progress, Stage
from curator.base.text import path_bytes
from curator.base.vocabulary import CurrentLabel
from curator.catalogue.sources import list_sources
from curator.errors import UsageError
from curator.export.about import about_export, left_out, short
from curator.export.building import ABOUT, MANIFEST, Building, building, check_folder
from curator.export.card import OF_LABELS, card, class_names, features_of
from curator.export.croissant import croissant
from curator.export.export import ExportReport, report_of
from curator.export.formats import TOGETHER, Format, write_csv
from curator.export.layouts import (
    UNLABELLED,
    Plan,
    PlannedFile,
    hashed_plan,
    one_per_image,
    shard_plan,
    tree_plan,
)
from curator.export.names import TORCHVISION_READS, folder_names
from curator.export.placing import Placer, Way
from curator.export.rows import Item, in_columns, in_order
from curator.export.shards import Shard, facts_of, write_shard
from curator.export.sidecar import ExportCounts, digest_of, sidecar_bytes
from curator.export.slow_rows import ExportRows, Filters, ImageChoice
from curator.workspace import Workspace

README = "README.md"
METADATA = "metadata.jsonl"
CROISSANT = "croissant.json"

_TROUBLES = {
    "vanished": "are gone",
    "unreadable": "cannot be read",
    "changed": "hold another image now",
}

_RECORDS = ".shards"
_MIN_SHARD = 100_000


@dataclass(slots=True, kw_only=True)
class _Made:
    """What has been made so far: files beside the images, troubles, suffixes."""

    files: list[str] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)
    suffixes: set[str] = field(default_factory=set)
    unread: int = 0
    scored: bool = True
    unlabelled_scored: bool = False
    classes: dict[str, set[str]] = field(default_factory=dict)


Maker = Callable[[Iterable[PlannedFile], Building, _Made, Stage], Iterator[Item]]
"""Makes the files of a plan and gives the items that are there, at their new paths."""


def export_folder(
    workspace: Workspace,
    destination: Path,
    *,
    kind: Format,
    filters: Filters,
    choice: ImageChoice,
    way: Way,
    shard_bytes: int,
    force: bool,
    certified: CertifiedImages | None,
    progress: Progress,
) -> ExportReport:
    """Make the folder, or finish the one that was interrupted; see `workflows.export`."""
    destination = destination.absolute()
    check_folder(destination, force=force)
    _note_own_sources(workspace, destination, progress)
    if shard_bytes < _MIN_SHARD:
        raise UsageError(
            f"Shards of {shard_bytes:,} bytes are too small.", f"Give at least {_MIN_SHARD:,}."
        )
    scratch = destination.parent
    rows = ExportRows(workspace, choice, None)
    tally, made, placer = ExportCounts(), _Made(), Placer(way)
    with ExitStack() as stack:
        try:
            plan = stack.enter_context(tempfile.TemporaryFile(dir=scratch))
            with progress.stage("plan", rows.count(), "rows") as stage:
                items = one_per_image(rows.taken(stage.advance, scratch), scratch)
                planning = _plan_of(workspace, kind, choice, shard_bytes)
                summary = _written(planning(items, scratch), plan)
        except OSError as error:
            raise cannot_write(destination, error) from error
        purpose = f"{summary.digest} {kind} {way} {shard_bytes}"
        place = stack.enter_context(building(destination, purpose))
        if place.resumed:
            progress.note(f"Going on with {place.root.name}, which was interrupted.")
        maker = _maker(kind, workspace, placer, summary)
        with progress.stage("files", summary.files, "images") as stage:
            items = tally.see(maker(_read(plan), place, made, stage))
            entries = in_order((item.entry for item in items), scratch)
            with place.new_file(MANIFEST) as stream:
                write_csv(in_columns(tally.count(entries), TOGETHER), stream)
                digest, size = digest_of(stream), stream.tell()
        rows.left_out.update(made.troubles)
        about = about_export(
            workspace,
            name=Path(MANIFEST),
            format=kind,
            filters=filters,
            choice=choice,
            relative_to=None,
            tally=tally,
            without=left_out(workspace, choice, rows.left_out),
            certified=certified,
        )
        about["manifest"]["sha256"] = digest
        # The folder may be given away: where the images lay is nobody's business.
        about["sources"] = short(about)["sources"]
        _describe(kind, destination.name, place, about, made, size)
        kept = place.finish(destination, copies=placer.made_copies)
        if kept is not None:
            progress.note(f"{kept.name} holds what no export wrote of the folder replaced.")
    _warn(made, kind, choice, progress)
    about_file = destination / ABOUT
    return report_of(destination, about_file, kind, tally, about, dict(placer.placed))


def _note_own_sources(workspace: Workspace, destination: Path, progress: Progress) -> None:
    """An export among the images that are curated would be curated itself."""
    place = os.fsencode(destination) + b"/"
    for source in list_sources(workspace.catalogue):
        if place.startswith(source.root.rstrip(b"/") + b"/"):
            progress.note(
                f"{destination.name} lies in the source {source.name}: the next `curator add` of"
                " that folder will take it for more images."
            )


def _plan_of(workspace: Workspace, kind: Format, choice: ImageChoice, shard_bytes: int) -> Plan:
    divided = choice.division is not None
    if kind is Format.HUGGINGFACE:
        return hashed_plan(divided=divided)
    if kind is Format.WEBDATASET:
        return shard_plan(shard_bytes, divided=divided)
    classes = workspace.settings.classes
    labels = [classes.name_of(standing) for standing in CurrentLabel]
    folders = folder_names([*labels, UNLABELLED])
    folder_of: dict[str | None, str] = {label: folders[label] for label in labels}
    folder_of[None] = folders[UNLABELLED]
    return tree_plan(folder_of, divided=divided)


@dataclass(slots=True, kw_only=True)
class _Summary:
    """What a plan comes to: its digest, its files, and which parts have scores."""

    digest: str = ""
    files: int = 0
    parts: set[str] = field(default_factory=set)
    scored_parts: set[str] = field(default_factory=set)


def _written(plan: Iterable[PlannedFile], stream: IO[bytes]) -> _Summary:
    """Keep the plan."""
    digest, summary = hashlib.sha256(), _Summary()
    for planned in plan:
        line = json.dumps(planned).encode() + b"\n"
        digest.update(line)
        stream.write(line)
        part = planned.folder.partition("/")[0]
        summary.files += 1
        summary.parts.add(part)
        if planned.item.entry.probability is not None:
            summary.scored_parts.add(part)
    stream.seek(0)
    summary.digest = digest.hexdigest()
    return summary


def _read(stream: IO[bytes]) -> Iterator[PlannedFile]:
    return (PlannedFile.restored(json.loads(line)) for line in stream)


def _maker(kind: Format, workspace: Workspace, placer: Placer, summary: _Summary) -> Maker:
    if kind is Format.WEBDATASET:
        names = workspace.settings.classes
        classes: dict[str | None, int] = {names.negative: 0, names.positive: 1}
        return lambda plan, place, made, stage: _shards(plan, place, made, stage, classes)
    if kind is Format.HUGGINGFACE:
        return lambda plan, place, made, stage: _with_metadata(
            _tree(plan, place, made, stage, placer), place, made, summary
        )
    return lambda plan, place, made, stage: _tree(plan, place, made, stage, placer)


def _tree(
    plan: Iterable[PlannedFile], place: Building, made: _Made, stage: Stage, placer: Placer
) -> Iterator[Item]:
    for planned in plan:
        item = planned.item
        trouble = placer.place(
            path_bytes(item.file),
            place.folder(tuple(planned.folder.split("/"))),
            planned.name,
            bytes.fromhex(item.entry.sha256),
        )
        stage.advance()
        if trouble is not None:
            made.troubles[trouble] += 1
            continue
        suffix = "." + planned.name.rpartition(".")[2]
        made.suffixes.add(suffix)
        made.unread += suffix not in TORCHVISION_READS
        part = planned.folder.rpartition("/")[0]
        made.classes.setdefault(part, set()).add(planned.folder.rpartition("/")[2])
        yield item._replace(entry=item.entry._replace(path=planned.path))


def _with_metadata(
    items: Iterator[Item], place: Building, made: _Made, summary: _Summary
) -> Iterator[Item]:
    """The items as they are; each part gets a `metadata.jsonl` that says what they are.

    A loader guesses the type of a column from the first rows of a part, and refuses parts
    of different types. So words and rounds are never null, and probabilities are left out
    where a part has none at all. Images without a label are no part of the others' table: they
    have one of their own, in which nothing is said of labels.
    """
    labelled = summary.parts - {UNLABELLED}
    made.scored = bool(labelled) and labelled <= summary.scored_parts
    made.unlabelled_scored = UNLABELLED in summary.scored_parts
    for part, of_part in groupby(items, key=lambda item: item.entry.path.partition("/")[0]):
        scored = made.unlabelled_scored if part == UNLABELLED else made.scored
        unsaid = set() if scored else {"probability"}
        if part == UNLABELLED:
            unsaid |= OF_LABELS
        with place.new_file(part, METADATA) as stream:
            for item in of_part:
                facts = {"file_name": item.entry.path.partition("/")[2], **facts_of(item)}
                facts |= {name: facts[name] or "" for name in ("origin", "group", "split")}
                facts["round"] = facts["round"] or 0
                told = {name: value for name, value in facts.items() if name not in unsaid}
                stream.write(json.dumps(told, ensure_ascii=False).encode() + b"\n")
                yield item
        made.files.append(f"{part}/{METADATA}")


def _shards(
    plan: Iterable[PlannedFile],
    place: Building,
    made: _Made,
    stage: Stage,
    classes: Mapping[str | None, int],
) -> Iterator[Item]:
    """Write the shards that are not there yet, and give the items that are in one."""
    for name, of_shard in groupby(plan, key=lambda planned: planned.folder):
        samples = list(of_shard)
        shard = _finished_shard(place, name)
        if shard is None:
            with place.new_file(name) as stream:
                pairs = ((planned.name, planned.item) for planned in samples)
                shard = write_shard(name, pairs, classes, stream)
            with place.new_file(_RECORDS, f"{name}.json") as stream:
                stream.write(json.dumps(asdict(shard)).encode())
        made.shards.append(shard)
        made.files.append(name)
        stage.advance(len(samples))
        for planned in samples:
            trouble = shard.troubles.get(planned.name)
            if trouble is not None:
                made.troubles[trouble] += 1
                continue
            item = planned.item
            yield item._replace(entry=item.entry._replace(path=planned.path))


def _finished_shard(place: Building, name: str) -> Shard | None:
    record = place.read(_RECORDS, f"{name}.json")
    return None if record is None else Shard(**json.loads(record))


def _describe(
    kind: Format,
    name: str,
    place: Building,
    about: dict[str, Any],
    made: _Made,
    manifest_bytes: int,
) -> None:
    """Write what goes beside the images: the card, the description, and how it came about."""
    shown = name.encode("utf-8", "replace").decode()
    texts: dict[str, str] = {}
    if kind is not Format.IMAGEFOLDER:
        features = None
        if kind is Format.HUGGINGFACE:
            features = {
                "default": features_of(about, scored=made.scored),
                UNLABELLED: features_of(about, scored=made.unlabelled_scored, labelled=False),
            }
        texts[README] = card(about, shown, features)
    if kind is Format.CROISSANT:
        texts[CROISSANT] = croissant(
            about, shown, manifest_bytes=manifest_bytes, suffixes=sorted(made.suffixes)
        )
    for file, text in texts.items():
        with place.new_file(file) as stream:
            stream.write(text.encode())
        made.files.append(file)
    if kind is Format.WEBDATASET:
        about["class_numbers"] = {label: n for n, label in enumerate(class_names(about))}
        about["shards"] = [
            {"name": one.name, "sha256": one.sha256, "bytes": one.size, "samples": one.samples}
            for one in made.shards
        ]
        for one in made.shards:
            place.remove(_RECORDS, f"{one.name}.json")
        place.remove_folder(_RECORDS)
    about["files"] = sorted(made.files)
    with place.new_file(ABOUT) as stream:
        stream.write(sidecar_bytes(about))


def _warn(made: _Made, kind: Format, choice: ImageChoice, progress: Progress) -> None:
    """Say what the user would otherwise find out later."""
    for trouble, number in made.troubles.items():
        progress.note(
            f"{number:,} files {_TROUBLES[trouble]}; they were left out. `curator add` brings"
            " the catalogue up to date."
        )
    if kind is Format.IMAGEFOLDER and made.unread:
        progress.note(
            f"{made.unread:,} images are in a format that torchvision's ImageFolder passes over."
        )
    labelled = {part: some for part, some in made.classes.items() if part != UNLABELLED}
    everything = set().union(*labelled.values()) if labelled else set()
    if choice.division is not None and kind in (Format.IMAGEFOLDER, Format.CROISSANT):
        for part, classes in sorted(labelled.items()):
            for missing in sorted(everything - classes):
                progress.note(
                    f"The part {part} has no image of {missing}: loaders that number classes by"
                    " their folders would number them otherwise there."
                )
