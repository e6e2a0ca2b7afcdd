"""Commands that turn pixels into what classifiers take: `encode`, `pack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.base.text import count, duration
from curator.cli.invocation import Invocation, invocation
from curator.cli.options import AsJson, flag, named_path, path_option, value
from curator.cli.output import emit, emit_json, shown, size
from curator.errors import UsageError

if TYPE_CHECKING:
    from curator.encoding.pixel_packs import PackReport


def encode(
    context: typer.Context,
    array: Annotated[
        Path | None,
        typer.Option(
            "--from", parser=named_path, metavar="FILE.npy", help="Import features of your own."
        ),
    ] = None,
    index: Annotated[
        Path | None, path_option("FILE.csv", "With --from: path or sha256 of each row.")
    ] = None,
    name: Annotated[
        str | None, value("NAME", "With --from: used as classifier.model=features:NAME.")
    ] = None,
    dry_run: Annotated[
        bool, flag("--dry-run", help="Measure the speed on a few images, and keep nothing.")
    ] = False,
    refit: Annotated[
        bool, flag("--refit", help="Fit the features to the pool as it is now; encodes all images.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Compute the features of images that have none yet; `round` does it by itself.

    An estimate of time and disk comes first. Interrupted, run it again: it goes on where
    it was. `round` says when --refit would pay. With --from, features that you computed
    elsewhere are imported instead.

    Example: curator encode --dry-run

    Example: curator encode --from features.npy --index rows.csv --name mine
    """
    if array is None:
        if index is not None or name is not None:
            raise UsageError("--index and --name need --from.", "Add --from FILE.")
        _encode(invocation(context), dry_run=dry_run, refit=refit, json=json)
    elif index is None or name is None:
        raise UsageError("--from needs --index and --name.", "Add the one that is missing.")
    elif dry_run or refit:
        raise UsageError("--dry-run and --refit do not go with --from.", "Leave them out.")
    else:
        _import(invocation(context), array, index, name, json=json)


def _encode(call: Invocation, *, dry_run: bool, refit: bool, json: bool) -> None:
    from curator.encoding.encode import encode as workflow

    with call.workspace() as workspace:
        report = workflow(workspace, dry_run=dry_run, refit=refit, progress=call.progress())
    if json:
        emit_json(report)
        return
    if report.dry_run:
        emit(str(report.estimate))
        return
    emit(
        f"{count(report.encoded, 'image')} encoded by {shown(report.model)} in"
        f" {duration(report.seconds)}; {report.known:,} had features before."
    )
    for reason, number in sorted(report.quarantined.items()):
        emit(f"  {number:,} into quarantine: {reason}")


def _import(call: Invocation, array: Path, index: Path, name: str, *, json: bool) -> None:
    from curator.encoding.import_features import import_features

    with call.workspace() as workspace:
        report = import_features(
            workspace, name=name, array=array, index=index, progress=call.progress()
        )
    if json:
        emit_json(report)
        return
    unchanged = " (they were here already)" if report.unchanged else ""
    emit(
        f"{shown(report.name)}: {report.dimension:,} features of"
        f" {count(report.images, 'image')}{unchanged}; {count(report.without, 'image')} without."
    )
    call.say(f"Use them: curator config classifier.model={report.name}")


def pack(
    context: typer.Context,
    rebuild: Annotated[bool, flag("--rebuild", help="Make it again even if it exists.")] = False,
    json: AsJson = False,
) -> None:
    """Decode the pixels of all images once, so that training never opens a file again.

    `round`, `tune` and `curve` do this by themselves. Here every row is checked as well, and
    a damaged pack is made again. Interrupted, run it again.

    Example: curator pack
    """
    from curator.encoding import pixel_packs

    call = invocation(context)
    with call.workspace() as workspace:
        report = pixel_packs.pack(workspace, rebuild=rebuild, progress=call.progress())
    if json:
        emit_json(report)
    else:
        emit(_pack_text(report))


def _pack_text(report: PackReport) -> str:
    colour = "grey" if report.channels == 1 else "colour"
    lines = [
        f"{count(report.images, 'image')} packed at {report.side}×{report.side}, {colour},"
        f" {report.codec}: {size(report.bytes)}; {report.added:,} new,"
        f" in {duration(report.seconds)}."
    ]
    lines += [f"  {reason}: {lost:,} in quarantine" for reason, lost in report.quarantined.items()]
    return "\n".join(lines)
