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
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import IO, Any, NamedTuple

from curator.base.files import cannot_write
from curator.base.progress import Progress, Stage
from curator.base.text import count, path_bytes, printable
from curator.base.vocabulary import CurrentLabel
from curator.catalogue.engine import Catalogue
from curator.catalogue.sources import list_sources
from curator.encoding.nodes import workspace_runtime
from curator.errors import StorageError, UsageError
from curator.export.building import ABOUT, MANIFEST, Building, building, check_folder
from curator.export.card import OF_LABELS, card, class_names, features_of
from curator.export.catalogue_rows import ExportRows, counted_files
from curator.export.converting import (
    READERS,
    ImageTarget,
    converted,
    image_target,
    is_read,
    with_target,
)
from curator.export.croissant import croissant
from curator.export.fiftyone import (
    DATASET,
    IMAGES,
    SAMPLES,
    fiftyone_metadata,
    fiftyone_sample,
)
from curator.export.filters import ExportRequest, Selection
from curator.export.formats import Format, write_csv
from curator.export.layouts import (
    UNLABELLED,
    Plan,
    PlannedFile,
    folder_names,
    hashed_plan,
    one_per_image,
    shard_plan,
    tree_plan,
)
from curator.export.placing import Placer, Trouble, Way
from curator.export.rows import PROBABILITIES, ExportCounts, ExportFile, in_columns, in_order
from curator.export.shards import Shard, facts_of, write_shard
from curator.export.sidecar import about_export, digest_of, short, sidecar_bytes
from curator.runtime.runtime import Runtime, unseen
from curator.settings.sections import ClassesSettings, IngestSettings
from curator.sources.addresses import is_url
from curator.workspace import Workspace

README = "README.md"
METADATA = "metadata.jsonl"
CROISSANT = "croissant.json"

_TROUBLES = {
    "vanished": "missing",
    "unreadable": "not readable",
    "changed": "replaced by another image",
}

_RECORDS = ".shards"
_MIN_SHARD = 100_000


def export_folder(
    workspace: Workspace,
    request: ExportRequest,
    format: Format,
    selection: Selection,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, int]]:
    """Make the folder, or finish the one that was interrupted; see `export.export`.

    Gives what the folder says about itself, and how many files came to it in which way.
    """
    way, target = _way(request), image_target(request.convert)
    destination = request.destination.absolute()
    check_folder(destination, force=request.force)
    _refuse_links(workspace.catalogue, selection, way)
    _note_own_sources(workspace.catalogue, destination, progress)
    if request.shard_bytes < _MIN_SHARD:
        raise UsageError(
            f"Shards of {request.shard_bytes:,} bytes are too small.",
            f"Give at least {_MIN_SHARD:,}.",
        )
    classes, scratch = workspace.settings.classes, destination.parent
    is_divided = selection.division is not None
    rows, counts = ExportRows(workspace, selection), ExportCounts()
    with ExitStack() as stack:
        try:
            plan = stack.enter_context(tempfile.TemporaryFile(dir=scratch))
            with progress.stage("plan", rows.total(), "rows") as stage:
                images = (
                    with_target(file, format, target)
                    for file in one_per_image(rows.files(stage.advance, scratch), scratch)
                )
                layout = _layout(format, classes, request.shard_bytes, is_divided=is_divided)
                summary = _write_plan(layout(images, scratch), plan)
        except OSError as error:
            raise cannot_write(destination, error) from error
        purpose = f"{summary.digest} {format} {way} {request.shard_bytes}"
        folder = stack.enter_context(building(destination, purpose))
        if folder.resumed:
            progress.note(f"Going on with {folder.root.name}, which was interrupted.")
        ingest = workspace.settings.ingest
        contents = _FolderContents(folder, format, classes, summary, Placer(way), ingest, target)
        with progress.stage("files", summary.files, "images") as stage:
            planned = (PlannedFile.restored(json.loads(line)) for line in plan)
            if format is Format.WEBDATASET:
                root = os.fsencode(folder.root)
                runtime = stack.enter_context(workspace_runtime(workspace, root))
                placed = contents.make_shards(planned, stage, runtime)
            else:
                placed = contents.make(planned, stage)
            files = counted_files(placed, counts)
            with folder.new_file(MANIFEST) as stream:
                in_path_order = in_order((file.row for file in files), scratch)
                write_csv(counts.counted(in_columns(in_path_order)), stream)
                digest, size = digest_of(stream), stream.tell()
        rows.left_out.update(contents.troubles)
        about = about_export(workspace, selection, counts, rows, name=MANIFEST, format=format)
        about["manifest"]["sha256"] = digest
        # The folder may be given away: it does not say where the images lay.
        about["sources"] = short(about)["sources"]
        contents.describe(destination.name, about, manifest_bytes=size)
        remainder = folder.finish(destination, copies=contents.placer.made_copies)
        if remainder is not None:
            progress.note(f"{remainder.name} holds what no export wrote of the folder replaced.")
    for warning in contents.warnings(is_divided=is_divided):
        progress.note(warning)
    return about, dict(contents.placer.placed)


def _way(request: ExportRequest) -> Way:
    if request.relative_to is not None:
        raise UsageError(
            "Paths in a folder are relative to the folder.", "Leave out --relative-to."
        )
    try:
        return Way(request.files)
    except ValueError:
        raise UsageError(
            f"Files cannot be put there as `{request.files}`.", f"Choose from {', '.join(Way)}."
        ) from None


def _refuse_links(catalogue: Catalogue, selection: Selection, way: Way) -> None:
    """Raise UsageError if files of a server were to be linked."""
    if way in (Way.AUTO, Way.COPY):
        return
    sources = selection.filters.sources
    for source in list_sources(catalogue):
        if is_url(source.root) and (not sources or source.name in sources):
            raise UsageError(
                f"The source `{source.name}` lies on a server, {printable(source.root)}: its files"
                f" cannot be put there as {way}s.",
                "Leave out --files, or give --files copy: then they are downloaded.",
            )


def _note_own_sources(catalogue: Catalogue, destination: Path, progress: Progress) -> None:
    """An export among the images that are curated would be curated itself."""
    path = os.fsencode(destination) + b"/"
    for source in list_sources(catalogue):
        if path.startswith(source.root.rstrip(b"/") + b"/"):
            progress.note(
                f"{destination.name} lies in the source {source.name}: the next `curator add` of"
                " that folder will add its images, too."
            )


def _layout(
    format: Format, classes: ClassesSettings, shard_bytes: int, *, is_divided: bool
) -> Plan:
    if format is Format.HUGGINGFACE:
        return hashed_plan(divided=is_divided)
    if format is Format.WEBDATASET:
        return shard_plan(shard_bytes, divided=is_divided)
    labels = [classes.name_of(label) for label in CurrentLabel]
    if format is Format.FIFTYONE:
        return tree_plan(dict.fromkeys([*labels, None], IMAGES), divided=False)
    folders = folder_names([*labels, UNLABELLED])
    folder_of: dict[str | None, str] = {label: folders[label] for label in labels}
    folder_of[None] = folders[UNLABELLED]
    return tree_plan(folder_of, divided=is_divided)


@dataclass(slots=True, kw_only=True)
class _PlanSummary:
    """What a plan comes to: its digest, its files, and which parts have scores and promotions."""

    digest: str = ""
    files: int = 0
    parts: set[str] = field(default_factory=set)
    parts_with: dict[str, set[str]] = field(
        default_factory=lambda: {column: set() for column in PROBABILITIES}
    )

    def columns(self, *, labelled: bool) -> list[str]:
        """The probabilities that every part with labels has, or the part without labels."""
        parts = self.parts - {UNLABELLED} if labelled else self.parts & {UNLABELLED}
        return [name for name, having in self.parts_with.items() if parts and parts <= having]


def _write_plan(plan: Iterable[PlannedFile], stream: IO[bytes]) -> _PlanSummary:
    digest, summary = hashlib.sha256(), _PlanSummary()
    for planned in plan:
        line = json.dumps(planned).encode() + b"\n"
        digest.update(line)
        stream.write(line)
        part = planned.folder.partition("/")[0]
        summary.files += 1
        summary.parts.add(part)
        for column, having in summary.parts_with.items():
            if getattr(planned.file.row, column) is not None:
                having.add(part)
    stream.seek(0)
    summary.digest = digest.hexdigest()
    return summary


class _PlannedShard(NamedTuple):
    """A shard and its samples; `finished` is what an interrupted run made of it."""

    name: str
    samples: list[PlannedFile]
    finished: Shard | None


def _opened_folder(root: Path, host: Callable[[int], str], threads: int) -> tuple[Building, str]:
    """The folder that is being made, for a worker of a node, and the name of that node."""
    return Building(root, resumed=True), host(threads)


def _made_shard(
    state: tuple[Building, str],
    chunk: list[_PlannedShard],
    *,
    class_numbers: Mapping[str | None, int],
    ingest: IngestSettings,
) -> tuple[_PlannedShard, Shard, str]:
    """Write a shard, in one step, unless it is finished; whoever writes it gives the same bytes."""
    (folder, host), (planned,) = state, chunk
    if planned.finished is not None:
        return planned, planned.finished, ""
    with folder.new_file(planned.name) as stream:
        pairs = ((sample.name, sample.file) for sample in planned.samples)
        shard = write_shard(planned.name, pairs, class_numbers, stream, ingest)
    return planned, shard, host


def _lost_shard(planned: _PlannedShard, reason: str) -> tuple[_PlannedShard, Shard, str]:
    raise StorageError(
        f"The shard {planned.name} cannot be written: {reason}",
        "Set runtime.engine to `local` and export again; finished shards stay.",
    )


def _check_troubles(samples: Iterable[PlannedFile], shard: Shard, host: str) -> None:
    """Raise DataError if this computer can read a file that the node `host` could not."""
    for planned in samples:
        if shard.troubles.get(planned.name) in (Trouble.VANISHED, Trouble.UNREADABLE):
            for path in map(path_bytes, planned.file.paths()):
                if os.access(path, os.R_OK):
                    raise unseen(path, host)


class _FolderContents:
    """Makes the files of a plan, and those beside the images, in a folder that is being made.

    `troubles` counts images that were left out, by why; `placer` how files came there.
    """

    def __init__(
        self,
        folder: Building,
        format: Format,
        classes: ClassesSettings,
        plan: _PlanSummary,
        placer: Placer,
        ingest: IngestSettings,
        target: ImageTarget | None,
    ) -> None:
        self.troubles: Counter[str] = Counter()
        self.placer = placer
        self._folder = folder
        self._format = format
        self._class_numbers: dict[str | None, int] = {classes.negative: 0, classes.positive: 1}
        self._plan = plan
        self._files: list[str] = []
        self._shards: list[Shard] = []
        self._suffixes: set[str] = set()
        self._ingest = ingest
        self._target = target
        self._converted: Counter[str] = Counter()
        self._unread: Counter[str] = Counter()
        self._classes_of_part: dict[str, set[str]] = {}

    def make(self, plan: Iterable[PlannedFile], stage: Stage) -> Iterator[ExportFile]:
        """Make the files of a plan; those that are there, with their new paths."""
        files = self._place_files(plan, stage)
        if self._format is Format.FIFTYONE:
            return self._with_samples(files)
        return self._with_metadata(files) if self._format is Format.HUGGINGFACE else files

    def _place_files(self, plan: Iterable[PlannedFile], stage: Stage) -> Iterator[ExportFile]:
        for planned in plan:
            file = planned.file
            trouble = self._place(planned)
            stage.advance()
            if trouble is not None:
                self.troubles[trouble] += 1
                continue
            suffix = "." + planned.name.rpartition(".")[2]
            self._suffixes.add(suffix)
            self._count_format(file)
            part, _, class_folder = planned.folder.rpartition("/")
            self._classes_of_part.setdefault(part, set()).add(class_folder)
            yield planned.at_new_path()

    def _place(self, planned: PlannedFile) -> Trouble | None:
        """Place the first file that is the image; the trouble with the first one if none is."""
        file = planned.file
        folder = self._folder.folder(tuple(planned.folder.split("/")))
        troubles = []
        for path in map(path_bytes, file.paths()):
            trouble: Trouble | None = None
            if file.converted_from is None:
                digest = bytes.fromhex(file.row.sha256)
                trouble = self.placer.place(path, folder, planned.name, digest)
            elif isinstance(content := converted(file, path, self._ingest), Trouble):
                trouble = content
            else:
                self.placer.place_content(content, folder, planned.name)
            if trouble is None:
                return None
            troubles.append(trouble)
        return troubles[0]

    def _count_format(self, file: ExportFile) -> None:
        """Count what was converted, and what readers of this export will not decode."""
        if file.converted_from is not None:
            self._converted[file.converted_from] += 1
        elif not is_read(self._format, file):
            self._unread[file.format or "unknown"] += 1

    def _with_metadata(self, files: Iterator[ExportFile]) -> Iterator[ExportFile]:
        """The files as they are; each part gets a `metadata.jsonl` that says what they are.

        A loader guesses the type of a column from the first rows of a part, and refuses parts
        of different types. So words and rounds are never null, and probabilities are left out
        where a part has none at all. Images without a label are no part of the others' table:
        they have one of their own, in which nothing is said of labels.
        """
        for part, of_part in groupby(files, key=lambda file: file.row.path.partition("/")[0]):
            omitted = set(OF_LABELS) if part == UNLABELLED else set()
            omitted |= set(PROBABILITIES) - set(self._plan.columns(labelled=part != UNLABELLED))
            with self._folder.new_file(part, METADATA) as stream:
                for file in of_part:
                    facts = {"file_name": file.row.path.partition("/")[2], **facts_of(file)}
                    facts |= {name: facts[name] or "" for name in ("origin", "group", "split")}
                    facts["round"] = facts["round"] or 0
                    if self._target is not None:
                        facts.setdefault("converted_from", "")
                    facts = {name: value for name, value in facts.items() if name not in omitted}
                    stream.write(json.dumps(facts, ensure_ascii=False).encode() + b"\n")
                    yield file
            self._files.append(f"{part}/{METADATA}")

    def _with_samples(self, files: Iterator[ExportFile]) -> Iterator[ExportFile]:
        """The files as they are; each is a sample of FiftyOne, too."""
        with self._folder.new_file(SAMPLES) as stream:
            before = b'{"samples": ['
            for file in files:
                stream.write(before + json.dumps(fiftyone_sample(file)).encode())
                before = b",\n"
                yield file
            stream.write(b"]}" if before == b",\n" else before + b"]}")
        self._files.append(SAMPLES)

    def make_shards(
        self, plan: Iterable[PlannedFile], stage: Stage, runtime: Runtime
    ) -> Iterator[ExportFile]:
        """Write the shards that are not there yet; the files that are in one."""

        def planned_shards() -> Iterator[list[_PlannedShard]]:
            for name, of_shard in groupby(plan, key=lambda planned: planned.folder):
                # An interrupted run leaves a record beside each shard that it finished.
                record = self._folder.read(_RECORDS, f"{name}.json")
                finished = None if record is None else Shard(**json.loads(record))
                yield [_PlannedShard(name, list(of_shard), finished)]

        work = partial(_made_shard, class_numbers=self._class_numbers, ingest=self._ingest)
        parts: Iterator[tuple[_PlannedShard, Shard, str]]
        if runtime.is_here:
            # One after the other: a shard that is written has its record before the next begins.
            parts = map(partial(work, (self._folder, "")), planned_shards())
        else:
            opened = partial(_opened_folder, self._folder.root, runtime.host)
            parts = runtime.map(opened, work, planned_shards(), _lost_shard)
        for planned_shard, shard, host in parts:
            name, samples, finished = planned_shard
            if finished is None:
                if host:
                    _check_troubles(samples, shard, host)
                with self._folder.new_file(_RECORDS, f"{name}.json") as stream:
                    stream.write(json.dumps(asdict(shard)).encode())
            self._shards.append(shard)
            self._files.append(name)
            stage.advance(len(samples))
            for planned in samples:
                trouble = shard.troubles.get(planned.name)
                if trouble is not None:
                    self.troubles[trouble] += 1
                else:
                    self._count_format(planned.file)
                    yield planned.at_new_path()

    def describe(self, name: str, about: dict[str, Any], *, manifest_bytes: int) -> None:
        """Write what goes beside the images: the card, the description, and `about` itself."""
        name = name.encode("utf-8", "replace").decode()
        if self._target is not None:
            about["converted"] = dict(sorted(self._converted.items()))
            about["converted_to"] = self._target.value
        if self._format is not Format.IMAGEFOLDER:
            features = None
            if self._format is Format.HUGGINGFACE:
                features = {
                    "default": features_of(about, self._plan.columns(labelled=True)),
                    UNLABELLED: features_of(
                        about, self._plan.columns(labelled=False), labelled=False
                    ),
                }
            self._write_text(README, card(about, name, features))
        if self._format is Format.CROISSANT:
            suffixes = sorted(self._suffixes)
            text = croissant(about, name, manifest_bytes=manifest_bytes, suffixes=suffixes)
            self._write_text(CROISSANT, text)
        if self._format is Format.FIFTYONE:
            self._write_text(DATASET, json.dumps(fiftyone_metadata(about, name), indent=1))
        if self._format is Format.WEBDATASET:
            about["class_numbers"] = {label: n for n, label in enumerate(class_names(about))}
            about["shards"] = [
                {"name": s.name, "sha256": s.sha256, "bytes": s.size, "samples": s.samples}
                for s in self._shards
            ]
            for shard in self._shards:
                self._folder.remove(_RECORDS, f"{shard.name}.json")
            self._folder.remove_folder(_RECORDS)
        about["files"] = sorted(self._files)
        with self._folder.new_file(ABOUT) as stream:
            stream.write(sidecar_bytes(about))

    def _write_text(self, file: str, text: str) -> None:
        with self._folder.new_file(file) as stream:
            stream.write(text.encode())
        self._files.append(file)

    def warnings(self, *, is_divided: bool) -> Iterator[str]:
        """What the user would otherwise find out later."""
        for trouble, number in self.troubles.items():
            yield (
                f"Left out: {count(number, 'file')} {_TROUBLES[trouble]}. `curator add` brings"
                " the catalogue up to date."
            )
        if self._unread:
            formats = ", ".join(
                f"{number:,} {name}" for name, number in sorted(self._unread.items())
            )
            yield (
                f"{READERS[self._format][0]} does not decode {count(self._unread.total(), 'image')}"
                f" of this export ({formats}). Export again with --convert png (lossless) or"
                " --convert jpeg."
            )
        if not is_divided or self._format not in (Format.IMAGEFOLDER, Format.CROISSANT):
            return
        labelled = {
            part: classes for part, classes in self._classes_of_part.items() if part != UNLABELLED
        }
        everything = set().union(*labelled.values())
        for part, classes in sorted(labelled.items()):
            for missing in sorted(everything - classes):
                yield (
                    f"The part {part} has no image of {missing}: loaders that number classes by"
                    " their folders would number them otherwise there."
                )
