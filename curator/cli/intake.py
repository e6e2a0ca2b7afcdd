"""Commands for what comes in and is taken back: images (`add`, `drop`), labels, groups, sources."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from curator.base.text import count, duration, path_text
from curator.base.vocabulary import Label, Oddity, Origin, read_origin
from curator.cli.invocation import invocation
from curator.cli.options import (
    AsJson,
    Force,
    Yes,
    agreed,
    argument,
    flag,
    path_argument,
    path_option,
    place_argument,
    value,
)
from curator.cli.output import emit, emit_json, moment, narrate, shown, size, table
from curator.errors import UsageError
from curator.sources.addresses import is_url

if TYPE_CHECKING:
    from curator.catalogue.batches import LabelBatch
    from curator.catalogue.changes import CatalogueChange
    from curator.catalogue.labels import UnlabelUndone
    from curator.intake.add import AddReport
    from curator.intake.drop import DropReport
    from curator.intake.duplicates import DuplicateGroup, ThinReport
    from curator.intake.relocate import RelocateReport
    from curator.intake.unlabel import UnlabelReport
    from curator.settings.sections import ClassesSettings

PeoplesOrigin = Literal["seed", "review", "random", "calibration", "audit"]


def add(
    context: typer.Context,
    paths: Annotated[
        list[str], place_argument("PATH...", "Folders with all in them, and files; or their URLs.")
    ],
    label: Annotated[
        str | None, value("CLASS", "Label every image as this class (seed labels).")
    ] = None,
    subfolders_are_classes: Annotated[
        bool, flag("--subfolders-are-classes", help="Seed labels by the names of the subfolders.")
    ] = False,
    source: Annotated[str | None, value("NAME", "Source name (default: folder name).")] = None,
    licence: Annotated[str, value("TEXT", "Licence of these images.")] = "",
    attribution: Annotated[str, value("TEXT", "Attribution of these images.")] = "",
    rehash: Annotated[
        bool, flag("--rehash", help="Read every file again, whatever its size and time say.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Catalogue images: every file is read in full, none is ever changed.

    What cannot be used is counted by reason. Run again, only what is new or changed is
    read; interrupted, run it again and it goes on.

    Example: curator add photos --source photos --licence CC-BY-4.0

    Images may lie on a server: in an object store (s3://, needs curator[s3]), or in folders that a
    web server lists (https://). They are read from there whenever they are needed, and not copied.

    Example: curator add examples/good --label good

    Example: curator add s3://bucket/photos --source photos
    """
    from curator.intake.add import add as workflow
    from curator.intake.relocate import relocate as relocate_source

    call = invocation(context)
    with call.workspace() as workspace:
        report = workflow(
            workspace,
            paths,
            label=label,
            subfolders_are_classes=subfolders_are_classes,
            source=source,
            licence=licence,
            attribution=attribution,
            rehash=rehash,
            actor=workspace.actor,
            progress=call.progress(),
        )
        names = workspace.settings.classes
        if json:
            emit_json(report.as_json(names))
            return
        emit("\n".join(_added(report, names)))
        asks = sys.stdin.isatty() and sys.stderr.isatty() and not call.quiet
        for moved in report.moved:
            old, new = shown(moved.old_root), shown(moved.new_root)
            emit(f"{new} looks like the source {shown(moved.name)}: nothing is left at {old}.")
            if asks and typer.confirm("Has it moved here (relocate)?", default=True, err=True):
                root = os.fsdecode(moved.new_root)
                _print_relocated(relocate_source(workspace, source=moved.name, root=root))
            else:
                command = shlex.join(["curator", "relocate", shown(moved.name), new])
                emit(f"  If it has moved there: {command}")


def _added(report: AddReport, classes: ClassesSettings) -> Iterator[str]:
    yield f"Looked at {count(report.files, 'file')} in {duration(report.seconds)}."
    quarantined = sum(report.quarantined.values())
    for name, number, remark in (
        ("added", report.added, ""),
        ("known", report.known, ""),
        ("duplicates", report.duplicates, "the same bytes as another file"),
        ("changed", report.changed, "another image now lies under a known path"),
        ("missing", report.missing, "known files that are missing now"),
        ("quarantined", quarantined, _reasons(report.quarantined)),
        ("other files", report.other_files, "no images"),
        ("ignored", sum(report.ignored.values()), _reasons(report.ignored)),
    ):
        if number or name == "added":
            yield f"  {name:<12}{number:>9,}{f'  ({remark})' if remark else ''}"
    for label, number in report.labelled.items():
        yield f"  {'labelled':<12}{number:>9,}  ({shown(classes.name_of(label))})"
    if report.labels_kept:
        yield f"  {count(report.labels_kept, 'image')} kept what a person decided one by one"
    if report.conflicts:
        yield f"  {count(report.conflicts, 'image')} labelled both ways: curator review conflict"
    if report.near_duplicate_groups:
        yield near_duplicates(report.near_duplicate_images, report.near_duplicate_groups)
    if report.near_duplicates_dissolved:
        yield dissolved_groups(report.near_duplicates_dissolved)
    if report.odd.by_oddity:
        yield f"  {odd_images(report.odd.by_oddity)}: curator review odd"
    if report.odd.unmeasured:
        yield (
            f"  {count(report.odd.unmeasured, 'image')} added by an earlier version, without"
            " sharpness and brightness: curator add --rehash PATH"
        )
    for folder in report.unreadable_folders:
        denial = "the server does not list" if is_url(folder) else "no permission to read"
        yield f"  {denial} the folder {shown(folder)}"


def odd_images(by_oddity: Mapping[Oddity, int]) -> str:
    """How many images stand out by how they look, as `add` and `status` say it."""
    words = {Oddity.DARK: "very dark", Oddity.BRIGHT: "very bright"}
    return ", ".join(f"{number:,} {words.get(each, each)}" for each, number in by_oddity.items())


def near_duplicates(images: int, groups: int) -> str:
    """How many near-duplicates there are, as `add` and `config` say it."""
    return f"  {count(images, 'image')} are near-duplicates, in {count(groups, 'group')}"


def dissolved_groups(images: int) -> str:
    """How many images look the same in groups that are too large."""
    return (
        f"  {count(images, 'image')} look the same in groups too large for copies, so they are not"
        " grouped (duplicates.largest_group)"
    )


def _reasons(reasons: Mapping[Any, int]) -> str:
    return ", ".join(f"{reason} {number:,}" for reason, number in reasons.items())


def label(
    context: typer.Context,
    file: Annotated[Path, path_argument("FILE.csv", "Columns: path or sha256, and label.")],
    origin: Annotated[
        PeoplesOrigin | None,
        typer.Option(
            help="Where labels come from whose file does not say it.", show_default="seed"
        ),
    ] = None,
    replace: Annotated[
        bool, flag("--replace", help="Take back earlier labels that these contradict.")
    ] = False,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="VALUE=LABEL", help="Read a value of the file as a label; repeatable."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Import people's labels from a CSV file: all of them, or none and the reasons why.

    A relative path is looked up from the file's folder, then from the current one. The
    label is one of your two class names or `unsure`; an empty one is passed over.
    Columns `reasons` (separated by |) and `note` are kept. A file that `curator queue` wrote
    says in its column `queue` what it answers: an audit, a random sample, another queue. Exports
    of Label Studio (JSON) and samples.json of a FiftyOne dataset are read, too.

    Example: curator label seeds.csv

    Example: curator label shoes.csv --map boot=bad --map sneaker=good
    """
    from curator.intake.label import label as workflow

    call = invocation(context)
    for entry in mapping or ():
        if "=" not in entry:
            raise UsageError(
                f"--map {entry} does not have the form VALUE=LABEL.", "Write it as --map boot=bad."
            )
    names = dict(entry.rsplit("=", 1) for entry in mapping or ())
    named_origin = None if origin is None else read_origin(origin)
    with call.workspace() as workspace:
        report = workflow(
            workspace,
            file,
            origin=named_origin,
            replace=replace,
            names=names,
            actor=workspace.actor,
        )
    if json:
        emit_json(report)
        return
    labels = ", ".join(f"{number:,} {shown(name)}" for name, number in report.labels.items())
    emit(f"Recorded {count(report.recorded, 'label')} from {shown(file)} ({labels}).")
    if report.queue is not None:
        emit(f"  {_MEANING[report.origin].format(queue=report.queue)}")
    for number, text in (
        (report.unchanged, "had this label already"),
        (report.unanswered, "had no label in the file"),
        (report.retracted, "earlier labels were replaced"),
    ):
        if number:
            emit(f"  {number:,} {text}")
    if report.conflicts:
        emit(f"  {count(report.conflicts, 'image')} labelled both ways: curator review conflict")
    if report.stale_certificates:
        emit(f"  no longer valid: {count(report.stale_certificates, 'certificate')}")


_MEANING = {
    Origin.SEED: "from the queue `{queue}`, as seeds",
    Origin.REVIEW: "from the queue `{queue}`, as a review",
    Origin.CALIBRATION: "from the draw `{queue}`: a random sample, which measures the error",
    Origin.AUDIT: "answers to {queue}",
}
"""What the labels of a queue are taken for."""


def unlabel(
    context: typer.Context,
    file: Annotated[
        Path | None,
        path_argument("[FILE.csv]", "Columns: path or sha256, and label (empty: any label)."),
    ] = None,
    batch: Annotated[
        int | None, value("ID", "Number of a batch, as `curator log` shows it.", min=1)
    ] = None,
    undo: Annotated[
        int | None, value("ID", "Record again what the unlabel of this number took back.", min=1)
    ] = None,
    dry_run: Annotated[bool, flag("--dry-run", help="Only show what would be taken back.")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Take back labels of people: a batch (an import, a sheet, a session), or those in a file.

    Each image returns to its label before that: an earlier decision, else a promotion, else none.
    The history keeps everything. Answers that the verdict of an audit has used stay. `--undo`
    records labels again that were taken back; images that people labelled since keep their label.

    Example: curator unlabel --batch 120 --dry-run

    Example: curator unlabel wrong.csv

    Example: curator unlabel --undo 240
    """
    from curator.intake.unlabel import undo as undo_workflow
    from curator.intake.unlabel import unlabel as workflow

    if undo is not None and not (file is None and batch is None):
        raise UsageError("--undo takes a number and nothing else.", "Leave out the other one.")
    call = invocation(context)
    with call.workspace() as workspace:
        if undo is not None:
            undone = undo_workflow(
                workspace.catalogue, undo, dry_run=dry_run, actor=workspace.actor
            )
            name_of = workspace.settings.classes.name_of
            if json:
                labels = {name_of(label): number for label, number in undone.labels.items()}
                emit_json({**asdict(undone), "labels": labels, "dry_run": dry_run})
            else:
                emit("\n".join(_recorded_again(undone, name_of, dry_run=dry_run)))
            return
        report = workflow(workspace, file=file, batch=batch, dry_run=True, actor=workspace.actor)
        if report.decisions and not (dry_run or yes):
            narrate("\n".join(_unlabelled(report)))
            if not agreed("Take them back?"):
                emit("Nothing was changed.")
                return
        if report.decisions and not dry_run:
            report = workflow(workspace, file=file, batch=batch, actor=workspace.actor)
    if json:
        emit_json(report)
        return
    emit("\n".join(_unlabelled(report)))
    if report.dry_run and report.decisions:
        target = f"--batch {batch}" if file is None else shlex.quote(str(file))
        call.next_step = f"Take them back: curator unlabel {target}"


def _recorded_again(
    undone: UnlabelUndone, name_of: Callable[[Label], str], *, dry_run: bool
) -> Iterator[str]:
    verb = "would be recorded again" if dry_run else "recorded again"
    labels = ", ".join(
        f"{number:,} {shown(name_of(each))}" for each, number in undone.labels.items()
    )
    yield f"{count(undone.decisions, 'decision')} {verb}{f' ({labels})' if labels else ''}."
    if undone.unchanged:
        yield f"  {count(undone.unchanged, 'image')} labelled since keep their label"


def _unlabelled(report: UnlabelReport) -> Iterator[str]:
    if not report.decisions:
        yield "There is no human label to take back."
    else:
        labels = ", ".join(f"{number:,} {shown(name)}" for name, number in report.labels.items())
        verb = "would be taken back" if report.dry_run else "taken back"
        yield (
            f"{count(report.decisions, 'decision')} about {count(report.images, 'image')}"
            f" {verb} ({labels})."
        )
    for number, decisions in report.batches.items():
        yield f"  {decisions:,} of batch {number}"
    if report.locked:
        yield f"  {count(report.locked, 'answer')} of audits, which a verdict has used, are kept"
    if not report.dry_run:
        yield f"  {count(report.unlabelled, 'image')} without a label now"
        if report.number is not None:
            yield f"  to record them again: curator unlabel --undo {report.number}"
    if report.certificates:
        verb = "may no longer be valid" if report.dry_run else "no longer valid"
        yield f"  {verb}: {count(report.certificates, 'certificate')}"


def log(
    context: typer.Context,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Show the newest N batches.")
    ] = 20,
    json: AsJson = False,
) -> None:
    """List what people did: imports, contact sheets, sessions, and what was taken back or dropped.

    `curator unlabel --batch ID` takes back the labels of an import, sheet or session; `curator
    unlabel --undo ID` records again what an `unlabel` took back.

    Example: curator log --limit 5
    """
    from curator.catalogue.changes import CatalogueChange
    from curator.intake.unlabel import log as list_log

    call = invocation(context)
    with call.workspace() as workspace:
        entries = list_log(workspace.catalogue)
        name_of = workspace.settings.classes.name_of
    newest = entries[-limit:]
    if json:
        labels = [{name_of(label): n for label, n in entry.labels.items()} for entry in newest]
        emit_json(
            [{**asdict(entry), "labels": of} for entry, of in zip(newest, labels, strict=True)]
        )
        return
    if not entries:
        emit("There are no labels and no dropped images yet.")
        return
    emit(
        table(
            ["id", "when", "who", "what", "labels", "taken back", "of them"],
            [_log_row(entry, name_of) for entry in newest],
        )
    )
    for entry in newest:
        if not isinstance(entry, CatalogueChange) and entry.file:
            emit(f"  {entry.batch_id} from {shown(entry.file)}")
    if len(entries) > limit:
        call.say(f"{len(entries) - limit:,} earlier: curator log --limit {len(entries)}")


def _log_row(entry: LabelBatch | CatalogueChange, name_of: Callable[[Label], str]) -> list[Any]:
    from curator.catalogue.changes import CatalogueChange

    labels = ", ".join(
        f"{number:,} {shown(name_of(each))}" for each, number in entry.labels.items()
    )
    when_and_who = [moment(entry.started_at), shown(entry.actor), entry.kind]
    if not isinstance(entry, CatalogueChange):
        taken_back = entry.taken_back or ""
        return [str(entry.batch_id), *when_and_who, entry.decisions, taken_back, labels]
    if entry.kind == "unlabel":
        return [str(entry.number), *when_and_who, "", sum(entry.labels.values()), labels]
    images = count(entry.images, "image")
    if entry.kind == "drop":
        return ["", *when_and_who, "", "", f"source {shown(entry.source)}: {images}"]
    came_back = f", {entry.restored:,} came back" if entry.restored else ""
    return ["", *when_and_who, "", "", f"near-duplicates: {images}{came_back}"]


def group(
    context: typer.Context,
    file: Annotated[
        Path | None, path_argument("FILE.csv", "Columns: path or sha256, and group.")
    ] = None,
    by: Annotated[
        str | None, value("REGEX", "The group is what this captures in the path.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Say which images belong together: people, videos, pairs.

    A group never spans training and testing, or two folds. It replaces the groups that
    you gave before; near-duplicates are grouped automatically.

    Example: curator group people.csv

    Example: curator group --by '/([^/]+)/[^/]+$'
    """
    from curator.intake.user_groups import group_by_csv, group_by_pattern

    with invocation(context).workspace() as workspace:
        if file is not None and by is None:
            report = group_by_csv(workspace, file)
        elif by is not None and file is None:
            report = group_by_pattern(workspace, by)
        else:
            raise UsageError("Groups come from a CSV file or from --by REGEX.", "Give one of them.")
    if json:
        emit_json(report)
        return
    same = "" if report.changed else ", as before"
    emit(f"{count(report.groups, 'group')} of {count(report.images, 'image')}{same}.")
    for number, text in (
        (report.unmatched, "in no group"),
        (report.withheld, "withheld from training: their groups span splits"),
    ):
        if number:
            emit(f"  {count(number, 'image')} {text}")
    if report.merged:
        emit(f"  {count(report.merged, 'group')} merged with another: an image is in both")


def relocate(
    context: typer.Context,
    source: Annotated[str, argument("SOURCE", "Its name, as `status` shows it.")],
    root: Annotated[
        str, place_argument("NEW_ROOT", "The folder, or its URL, that holds the files now.")
    ],
    json: AsJson = False,
) -> None:
    """Say that a source's folder has moved; labels and features stay, nothing is read again.

    If the new folder was added meanwhile, what is catalogued there becomes part of the source.

    Example: curator relocate photos /mnt/new-disk/photos
    """
    from curator.intake.relocate import relocate as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        report = workflow(workspace, source=source, root=root, progress=call.progress())
    if json:
        roots = {"old_root": path_text(report.old_root), "new_root": path_text(report.new_root)}
        emit_json({**asdict(report), **roots})
    else:
        _print_relocated(report)


def _print_relocated(report: RelocateReport) -> None:
    emit(f"{shown(report.source)} moved from {shown(report.old_root)} to {shown(report.new_root)}.")
    emit(f"  {count(report.present, 'file')} there, {report.missing:,} missing")
    for name in report.merged:
        emit(f"  what was added there as {shown(name)} is part of it now")
    if report.changed:
        add = shlex.join(["curator", "add", shown(report.new_root)])
        emit(f"  {report.changed:,} of another size: {add}")


def drop(
    context: typer.Context,
    source: Annotated[str, argument("SOURCE", "Its name, as `status` shows it.")],
    dry_run: Annotated[bool, flag("--dry-run", help="Only show what would be removed.")] = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """Take a source out of the catalogue; its files are not touched.

    Images that lie in no other source leave the pool, with their promotions. Labels and their
    history stay: add the folder again, and its images come back with them.

    Example: curator drop photos --dry-run
    """
    from curator.intake.drop import drop as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        report = workflow(workspace, source=source, actor=workspace.actor, dry_run=True)
        if not (dry_run or yes):
            narrate("\n".join(_dropped(report)))
            if not agreed(f"Drop {shown(report.source)}?"):
                emit("Nothing was changed.")
                return
        if not dry_run:
            report = workflow(
                workspace, source=source, actor=workspace.actor, progress=call.progress()
            )
    if json:
        emit_json({**asdict(report), "root": path_text(report.root)})
    else:
        emit("\n".join(_dropped(report)))


def _dropped(report: DropReport) -> Iterator[str]:
    verb = "would be dropped" if report.dry_run else "was dropped"
    yield f"The source {shown(report.source)} ({count(report.files, 'file')}) {verb}."
    yield (
        f"  {count(report.images, 'image')} of it in no other source: {report.labelled:,} labelled"
        f" by people, {report.promoted:,} promoted"
    )
    if report.stale_certificates:
        verb = "would no longer be valid" if report.dry_run else "no longer valid"
        yield f"  {verb}: {count(report.stale_certificates, 'certificate')}"
    if not report.dry_run:
        add = shlex.join(["curator", "add", "--source", shown(report.source), shown(report.root)])
        yield f"  labels and history are kept; to bring the images back: {add}"


def duplicates(
    context: typer.Context,
    output: Annotated[Path | None, path_option("FILE.csv", "Write every file as CSV.")] = None,
    thin: Annotated[
        str | None,
        value("RULE", "Keep one of each near-duplicate group: largest, sharpest, first."),
    ] = None,
    undo: Annotated[bool, flag("--undo", help="Take the newest drop back.")] = False,
    dry_run: Annotated[
        bool, flag("--dry-run", help="With --thin: only show what would be removed.")
    ] = False,
    force: Force = False,
    yes: Yes = False,
    json: AsJson = False,
) -> None:
    """List exact and near-duplicates with their bytes; keep one of each group if you ask for it.

    Dropped images leave the pool: they are not trained on, promoted or exported. No file is
    touched, labels stay, and `--undo` brings them back. Images that people labelled are never
    dropped here; `curator review duplicates` shows the groups one by one.

    Example: curator duplicates --output duplicates.csv

    Example: curator duplicates --thin sharpest --dry-run
    """
    from curator.intake import duplicates as workflow

    if sum((output is not None, thin is not None, undo)) > 1 or (dry_run and thin is None):
        raise UsageError(
            "--output, --thin and --undo exclude each other, and --dry-run needs --thin.",
            "Give one of them.",
        )
    call = invocation(context)
    with call.workspace() as workspace:
        if undo:
            images = workflow.undo_drop(workspace.catalogue, actor=workspace.actor)
            if json:
                emit_json({"restored": images})
            else:
                emit(f"{count(images, 'image')} came back." if images else "Nothing was dropped.")
            return
        if thin is not None:
            report = workflow.thin(workspace.catalogue, thin, actor=workspace.actor, dry_run=True)
            if report.dropped and not (dry_run or yes):
                narrate("\n".join(_thinned(report)))
                if not agreed(f"Drop {count(report.dropped, 'image')}?"):
                    emit("Nothing was changed.")
                    return
            if not dry_run:
                report = workflow.thin(workspace.catalogue, thin, actor=workspace.actor)
            if json:
                emit_json(report)
            else:
                emit("\n".join(_thinned(report)))
                if report.dry_run and report.dropped:
                    call.next_step = f"Drop them: curator duplicates --thin {thin}"
            return
        groups, classes = workflow.duplicates(workspace.catalogue), workspace.settings.classes
    if output is not None:
        workflow.write_duplicates(groups, output, classes, force=force)
        call.say(f"Wrote {count(len(groups), 'group')} to {output}.")
    if json:
        emit_json([group.as_json() for group in groups])
    elif output is None:
        emit("\n".join(_duplicate_lines(groups)))
        if any(group.kind == "near" for group in groups):
            call.next_step = (
                "Look at the near-duplicates: curator review duplicates, or keep one of each:"
                " curator duplicates --thin largest --dry-run"
            )


_GROUPS_SHOWN = 20


def _duplicate_lines(groups: Sequence[DuplicateGroup]) -> Iterator[str]:
    for kind, what in (("exact", "exact duplicates"), ("near", "near-duplicates")):
        of_kind = [group for group in groups if group.kind == kind]
        files = sum(len(group.files) for group in of_kind)
        spare = sum(group.spare_bytes for group in of_kind)
        yield (
            f"{files:,} files are {what}, in {count(len(of_kind), 'group')}; all but one of each:"
            f" {count(files - len(of_kind), 'file')}, {size(spare)}"
            if of_kind
            else f"No {what}."
        )
    if groups:
        rows = [
            [
                number,
                group.kind,
                len(group.files),
                size(group.spare_bytes),
                shown(group.files[0].path),
            ]
            for number, group in enumerate(groups[:_GROUPS_SHOWN], start=1)
        ]
        yield table(["group", "kind", "files", "to spare", "largest, or first"], rows)
    if len(groups) > _GROUPS_SHOWN:
        more = count(len(groups) - _GROUPS_SHOWN, "more group")
        yield f"  {more}: curator duplicates --output FILE.csv"


def _thinned(report: ThinReport) -> Iterator[str]:
    if not report.dropped:
        yield "There are no images to drop."
    else:
        verb = "would be dropped" if report.dry_run else "were dropped"
        yield (
            f"{count(report.dropped, 'near-duplicate')} of {count(report.groups, 'group')} {verb}"
            f" ({size(report.bytes)}); the {report.rule} of each stays."
        )
    if report.promoted:
        yield f"  {report.promoted:,} of them promoted"
    if report.labelled:
        yield f"  {count(report.labelled, 'other image')} stay because people labelled them"
    if report.stale_certificates:
        verb = "would no longer be valid" if report.dry_run else "no longer valid"
        yield f"  {verb}: {count(report.stale_certificates, 'certificate')}"
    if report.dropped and not report.dry_run:
        yield "  no file was touched; to bring the images back: curator duplicates --undo"
