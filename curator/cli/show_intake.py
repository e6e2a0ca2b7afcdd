"""The reports of `add` and `relocate`: what was found, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from curator.cli.output import count, duration, shown

if TYPE_CHECKING:
    from curator.intake.add import AddReport
    from curator.intake.relocate import RelocateReport
    from curator.settings.sections import ClassesSettings


def tally(report: AddReport, classes: ClassesSettings) -> str:
    """The report for a person; lines that would say nothing are left out."""
    return "\n".join(_lines(report, classes))


def as_json(report: AddReport, classes: ClassesSettings) -> dict[str, Any]:
    """The report for a program; labels carry the user's names."""
    from curator.base.text import path_text

    return {
        **asdict(report),
        "labelled": {classes.name_of(label): n for label, n in report.labelled.items()},
        "unreadable_folders": [path_text(folder) for folder in report.unreadable_folders],
    }


def moved(report: RelocateReport) -> dict[str, Any]:
    """The report of `relocate` for a program; paths are written as in a manifest."""
    from curator.base.text import path_text

    roots = {"old_root": path_text(report.old_root), "new_root": path_text(report.new_root)}
    return {**asdict(report), **roots}


def _lines(report: AddReport, classes: ClassesSettings) -> Iterator[str]:
    yield f"Looked at {count(report.files, 'file')} in {duration(report.seconds)}."
    quarantined = sum(report.quarantined.values())
    for name, number, remark in (
        ("added", report.added, ""),
        ("known", report.known, ""),
        ("duplicates", report.duplicates, "the same bytes as another file"),
        ("changed", report.changed, "another image now lies under a known path"),
        ("missing", report.missing, "known files that are gone"),
        ("quarantined", quarantined, _told(report.quarantined)),
        ("ignored", sum(report.ignored.values()), _told(report.ignored)),
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
        yield (
            f"  {count(report.near_duplicate_images, 'image')} are near-duplicates, in"
            f" {count(report.near_duplicate_groups, 'group')}"
        )
    for folder in report.unreadable_folders:
        yield f"  no right to read the folder {shown(folder)}"


def _told(reasons: Mapping[Any, int]) -> str:
    return ", ".join(f"{reason} {number:,}" for reason, number in reasons.items())
