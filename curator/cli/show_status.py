"""`status` as one screen that tells the story of a workspace from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from curator.base.vocabulary import CurrentLabel, Origin
from curator.cli import show_judgement
from curator.cli.output import count, duration, percent, shown, strong, table

if TYPE_CHECKING:
    from curator.report.status import Status

ROUNDS_SHOWN = 8


def screen(status: Status) -> str:
    """The whole screen as text."""
    return "\n".join(_lines(status))


def _lines(status: Status) -> Iterator[str]:
    from curator.report.sentences import decisions_sentence

    classes = status.settings.classes
    yield strong(shown(str(status.root)))
    yield f"  sorts images into `{shown(classes.positive)}` and `{shown(classes.negative)}`"
    yield from (f"  now running: {name} ({holder})" for name, holder in status.busy.items())
    yield ""
    yield from _images(status)
    if status.counts.usable:
        yield ""
        yield _labels(status)
        if status.decisions:
            yield f"{strong('People')}  {decisions_sentence(status.decisions, status.minutes)}"
        yield ""
        yield from _coverage(status)
    if status.rounds:
        yield ""
        yield from _rounds(status)
        yield from show_judgement.lines(status)
    yield ""
    yield f"{strong('Next')}  {shown(status.advice())}"


def _images(status: Status) -> Iterator[str]:
    counts = status.counts
    files = [count(counts.locations, "file")]
    if counts.duplicates:
        files.append(count(counts.duplicates, "exact duplicate"))
    if counts.missing:
        files.append(f"{counts.missing:,} missing")
    yield f"{strong('Images')}  {counts.images:,} ({', '.join(files)})"
    for source in status.sources:
        licence = f", licence {source.licence}" if source.licence else ""
        yield f"  {shown(source.name)}: {shown(source.root)}{shown(licence)}"
    if counts.quarantined:
        total = sum(counts.quarantined.values())
        reasons = ", ".join(
            f"{reason} {number:,}" for reason, number in sorted(counts.quarantined.items())
        )
        yield f"{strong('Quarantine')}  {total:,} ({reasons})"
    groups = [count(number, f"{kind} group") for kind, number in counts.groups.items() if number]
    if groups:
        yield f"{strong('Groups')}  {', '.join(groups)}"


def _labels(status: Status) -> str:
    labels = status.counts.labels
    origins = [origin for origin in Origin if any(labels[s].get(origin) for s in labels)]
    rows: list[list[object]] = []
    for standing in CurrentLabel:
        by_origin = labels.get(standing, {})
        if by_origin or standing in {CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE}:
            numbers = [by_origin.get(origin, 0) for origin in origins]
            rows.append([shown(status.name_of(standing)), *numbers, sum(by_origin.values())])
    blank = [""] * len(origins)
    rows.append(["unlabelled", *blank, status.counts.unlabelled])
    return table(["label", *origins, "all"], rows, indent="  ")


def _coverage(status: Status) -> Iterator[str]:
    from curator.report.sentences import coverage_sentence

    counts = status.counts
    told = coverage_sentence(counts.promoted, counts.without_human, counts.coverage)
    yield f"{strong('Coverage')}  {told}"
    yield from _certificates(status)
    if counts.blocked:
        yield f"  {count(counts.blocked, 'image')} wait for a look before any round promotes them"
    if counts.withheld:
        yield (
            f"  {count(counts.withheld, 'image')} withheld from training: their groups span splits"
        )


def _certificates(status: Status) -> Iterator[str]:
    from curator.audits.certificate import certificate_sentence, stale_sentence
    from curator.report.sentences import PROVISIONAL

    if status.counts.promoted and status.certificate is None:
        yield f"  {PROVISIONAL}"
    for one in status.certificates:
        state = "valid" if one.stale is None else f"stale: {stale_sentence(one)}"
        text = certificate_sentence(one, status.settings.classes)
        yield f"{strong('Certificate')}  {shown(text)}"
        yield f"  {state}; attempt {one.attempt}, frame {one.frame_digest[:12]}"
    if status.audit is not None:
        yield (
            f"{strong('Audit')}  {status.audit.audit_id} is open: {status.audit.answered:,} of"
            f" {status.audit.sample:,} answered, {status.waiting:,} to go"
        )


def _rounds(status: Status) -> Iterator[str]:
    recent = status.rounds[-ROUNDS_SHOWN:]
    hidden = len(status.rounds) - len(recent)
    yield strong("Rounds") + (f"  the last {len(recent)} of {len(status.rounds)}" if hidden else "")
    yield table(
        ["round", "status", "promoted", "revoked", "coverage", "time"],
        [
            [
                each.round_id,
                each.status,
                each.promoted_positive + each.promoted_negative,
                each.revoked,
                percent(each.coverage),
                duration(each.seconds),
            ]
            for each in recent
        ],
    )
