"""Commands that show what a workspace holds and change nothing: `status`, `history`, `report`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.base.text import count, duration, percent
from curator.base.vocabulary import CurrentLabel, GroupKind, Origin
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, Force, argument, path_argument, value
from curator.cli.output import emit, emit_json, moment, shown, size, strong, table

if TYPE_CHECKING:
    from curator.catalogue.labels import HistoryEvent
    from curator.report.history import History
    from curator.report.status import Status
    from curator.rounds.score_quality import ScoreQuality
    from curator.settings.sections import ClassesSettings

ROUNDS_SHOWN = 8


def status(
    context: typer.Context,
    json: AsJson = False,
) -> None:
    """Show what the workspace holds, what its rounds did, and what to do next.

    Example: curator status --json
    """
    from curator.report.status import status as workflow

    with invocation(context).workspace() as workspace:
        report = workflow(workspace)
    if json:
        emit_json(report.as_json())
    else:
        emit("\n".join(_status_lines(report)))


def plan(
    context: typer.Context,
    error: Annotated[
        float | None, value("SHARE", "Wrong labels / images (promotion.max_error).")
    ] = None,
    coverage: Annotated[float, value("SHARE", "Images with a label / images.")] = 0.95,
    json: AsJson = False,
) -> None:
    """Say how many more decisions label the pool, and which queue to review next.

    People label the most doubtful images, and the rest gets its likelier class. The forecast
    needs 50 labels of a random sample and no open warning. It follows from the scores, from how
    they changed over the rounds so far, and from your pace.

    Example: curator plan --error 0.01 --coverage 0.95
    """
    from curator.report.plan import plan_pool
    from curator.report.status import status as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        report = plan_pool(workflow(workspace), error=error, coverage=coverage)
    if json:
        emit_json(report.as_json())
    else:
        emit("\n".join(shown(sentence) for sentence in report.sentences()))
        call.next_step = f"Go on: {report.next}"


def _status_lines(status: Status) -> Iterator[str]:
    from curator.report.plan import plan_pool
    from curator.report.sentences import decisions_sentence, kind_sentence

    classes = status.settings.classes
    yield strong(shown(str(status.root)))
    alone = (
        ""
        if classes.deliver == "both"
        else ", delivers both, each with a certificate of its own"
        if classes.deliver == "each"
        else f", delivers `{shown(classes.name_of(classes.deliver))}`"
    )
    yield f"  sorts images into `{shown(classes.positive)}` and `{shown(classes.negative)}`{alone}"
    yield from (f"  now running: {name} ({holder})" for name, holder in status.busy.items())
    yield ""
    yield from _image_lines(status)
    if status.counts.usable:
        yield ""
        yield _label_table(status)
        if status.contradicted:
            yield (
                f"{strong('Conflicts')}  {count(status.contradicted, 'labelled image')} whose"
                " near-duplicates have the other label; not trained on"
            )
        if status.decisions:
            yield f"{strong('People')}  {decisions_sentence(status.decisions, status.minutes)}"
        if sentence := kind_sentence(status):
            yield f"{strong('Classifier')}  {sentence}"
        yield ""
        yield from _coverage_lines(status)
    if status.rounds:
        yield ""
        yield from _round_lines(status)
        yield from _score_lines(status)
        yield from (
            f"{strong('Work left')}  {sentence}" for sentence in plan_pool(status).sentences()
        )
    yield ""
    yield f"{strong('Next')}  {shown(status.advice())}"


def _image_lines(status: Status) -> Iterator[str]:
    counts = status.counts
    files = [count(counts.locations, "file")]
    if counts.duplicates:
        files.append(count(counts.duplicates, "exact duplicate"))
    if counts.missing:
        files.append(f"{counts.missing:,} missing")
    if counts.gone:
        files.append(f"{count(counts.gone, 'image')} without a file")
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
    if counts.other_files:
        yield f"{strong('Other files')}  {counts.other_files:,} (no images; not counted above)"
    if counts.odd:
        from curator.cli.intake import odd_images

        yield f"{strong('Stand out')}  {odd_images(counts.odd)}: curator review odd"
    if counts.dropped:
        yield (
            f"{strong('Dropped')}  {count(counts.dropped, 'near-duplicate')}; to take the last"
            " drop back: curator duplicates --undo"
        )
    of_what = {GroupKind.PERCEPTUAL: "of near-duplicates", GroupKind.USER: "of yours"}
    groups = [
        f"{count(number, 'group')} {of_what[kind]}"
        for kind, number in counts.groups.items()
        if number
    ]
    if groups:
        yield f"{strong('Groups')}  {', '.join(groups)}"


def _label_table(status: Status) -> str:
    labels = status.counts.labels
    origins = [origin for origin in Origin if any(by.get(origin) for by in labels.values())]
    rows: list[list[object]] = []
    for label in CurrentLabel:
        by_origin = labels.get(label, {})
        if by_origin or label in {CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE}:
            numbers = [by_origin.get(origin, 0) for origin in origins]
            rows.append([shown(status.name_of(label)), *numbers, sum(by_origin.values())])
    blank = [""] * len(origins)
    rows.append(["unlabelled", *blank, status.counts.unlabelled])
    return table(["label", *origins, "all"], rows, indent="  ")


def _coverage_lines(status: Status) -> Iterator[str]:
    from curator.audits.certificate import certificate_doubts, certificate_sentence
    from curator.report.sentences import (
        NOT_AUDITED,
        PROVISIONAL,
        certificate_state,
        coverage_sentence,
    )

    counts, audit = status.counts, status.audit
    coverage = coverage_sentence(counts.promoted, counts.without_human, counts.coverage)
    yield f"{strong('Coverage')}  {coverage}"
    if counts.promoted and status.certificate is None:
        is_certified_policy = status.settings.promotion.policy == "certified"
        yield f"  {PROVISIONAL if is_certified_policy else NOT_AUDITED}"
    for certificate in status.certificates:
        sentence = certificate_sentence(certificate, status.settings.classes)
        frame = certificate.frame_digest[:12]
        yield f"{strong('Certificate')}  {shown(sentence)}"
        yield f"  {certificate_state(certificate)}; attempt {certificate.attempt}, frame {frame}"
        for warning in certificate.details.get("warnings", []):
            yield f"  issued under a warning: {shown(warning)}"
        if certificate.commitment:
            yield f"  Commitment {certificate.commitment}"
        for doubt in certificate_doubts(certificate):
            yield f"  Doubtful: {doubt}."
    if audit is not None:
        yield (
            f"{strong('Audit')}  {audit.audit_id} is open: {audit.answered:,} of"
            f" {audit.sample:,} answered, {status.waiting:,} to go"
        )
        if audit.commitment:
            yield f"  Commitment {audit.commitment}"
    if counts.blocked:
        yield f"  {count(counts.blocked, 'image')} wait for a review before any round promotes them"
    if counts.withheld:
        yield (
            f"  {count(counts.withheld, 'image')} withheld from training: their groups span splits"
        )


def _round_lines(status: Status) -> Iterator[str]:
    from curator.report.sentences import threshold_error_cell

    recent = status.rounds[-ROUNDS_SHOWN:]
    current = status.current_round
    if current is not None and current not in recent:  # after a rollback
        recent = [current, *recent[1:]]
    hidden = len(status.rounds) - len(recent)
    yield strong("Rounds") + (f"  {len(recent)} of {len(status.rounds)}" if hidden else "")
    yield table(
        ["round", "status", "promoted", "revoked", "coverage", "error (labels)", "time"],
        [
            [
                record.round_id,
                record.status,
                record.promoted_positive + record.promoted_negative,
                record.revoked,
                percent(record.coverage),
                threshold_error_cell(record),
                duration(record.seconds),
            ]
            for record in recent
        ],
    )


def _score_lines(status: Status) -> Iterator[str]:
    """What labels say of the current round's scores, and its warnings."""
    from curator.report.sentences import (
        below_upper_sentence,
        error_sentence,
        other_thresholds_sentence,
        scores_sentence,
        threshold_error_sentence,
    )
    from curator.rounds.pool_error import OtherThresholds
    from curator.rounds.score_quality import advice, comparison_sentence, from_stored

    record = status.measured_round
    if record is None:
        return
    if below := below_upper_sentence(record):
        yield below
    if status.error is not None:
        yield shown(error_sentence(status.error))
    yield threshold_error_sentence(status.threshold_error)
    if status.error is not None and status.error.on_pool and not record.outcome.get("alarms"):
        options, accepted = OtherThresholds.from_outcome(record.outcome), status.settings.promotion
        sentence = other_thresholds_sentence(options, status.error, accepted.max_error)
        yield from filter(None, [sentence])
    quality = from_stored(record.outcome.get("judgement"))
    if quality is not None:
        yield f"{strong('Scores')}  of round {record.round_id}: {scores_sentence(quality)}"
        yield from (f"  {line}" for line in quality_warnings(quality, status.settings.classes))
        if status.counts.unlabelled:
            yield f"  {advice(quality)}"
        if quality.last is not None:
            yield f"  {comparison_sentence(quality.last)}"
    for warning in record.outcome.get("alarms", []):
        yield f"{strong('Warning')}  {shown(warning['problem'])} {shown(warning['cure'])}"
    if record.outcome.get("accepted_warning"):
        yield "  accepted: promotions were made despite it (--accept-warning)"


def quality_warnings(quality: ScoreQuality, classes: ClassesSettings) -> Iterator[str]:
    """Class shares and sources in which the scores may be wrong."""
    from curator.report.sentences import share_sentences, source_sentences

    yield from map(shown, share_sentences(quality, classes.positive))
    yield from map(shown, source_sentences(quality, classes.positive))


def history(
    context: typer.Context,
    image: Annotated[str, argument("IMAGE", "A path, or a SHA-256 or its beginning.")],
    json: AsJson = False,
) -> None:
    """Show every label event of an image, and where it lies.

    Example: curator history photos/0042.jpg
    """
    from curator.report.history import history as workflow

    with invocation(context).workspace() as workspace:
        report = workflow(workspace.catalogue, image)
        classes = workspace.settings.classes
    if json:
        emit_json(report.as_json())
    else:
        emit("\n".join(_history_lines(report, classes)))


def _history_lines(history: History, classes: ClassesSettings) -> Iterator[str]:
    image = history.image
    yield strong(image.sha256.hex())
    shape = f"{image.width}x{image.height} pixels, " if image.width else ""
    kind = f"{image.format} {image.mode}, " if image.format else ""
    yield f"  {shape}{kind}{size(image.size)}, added {moment(image.added_at)}"
    for location in image.locations:
        state = "" if location.state == "present" else f"  ({location.state})"
        yield f"  {shown(location.path)}{state}"
    if image.quarantine is not None:
        yield f"  in quarantine: {image.quarantine}. {shown(image.detail)}".rstrip()
    yield f"  {strong('now')} {_current_label(history, classes)}"
    if history.round_error is not None:
        from curator.report.sentences import threshold_error_sentence

        yield f"  round {image.round}: {threshold_error_sentence(history.round_error)}"
    if image.split is not None and image.split != "train":
        yield f"  never trained on: {image.split}"
    if image.blocked:
        yield "  no round may promote it before a person has looked"
    yield ""
    if history.events:
        header = ["when", "event", "label", "origin", "how", "by", "round", "P", ""]
        yield table(header, [_event_row(history, event, classes) for event in history.events])
        yield ""
        yield (
            "P of an event is the score at that moment. `predict` and `inspect` score an image"
            " without its neighbours in the pool, so theirs may differ."
        )
    else:
        yield "No label event yet."


def _current_label(history: History, classes: ClassesSettings) -> str:
    image = history.image
    score = "" if image.score is None else f"; the current score is P = {image.score:.4f}"
    if image.standing is None:
        return f"unlabelled{score}"
    promoted_in = f" in round {image.round}" if image.round is not None else ""
    origin = history.origin_of(image.origin, image.round)
    return f"{shown(classes.name_of(image.standing))} ({origin}{promoted_in}){score}"


def _event_row(history: History, event: HistoryEvent, classes: ClassesSettings) -> list[object]:
    remarks = [
        *event.reasons,
        *([event.note] if event.note else []),
        *(["taken back"] if event.retracted else []),
        *(["rolled back"] if event.undone else []),
    ]
    return [
        moment(event.made_at),
        event.kind,
        shown(classes.name_of(event.label)),
        history.origin_of(event.origin, event.round),
        event.method,
        shown(event.actor or "-"),
        event.round,
        None if event.probability is None else f"{event.probability:.4f}",
        shown("; ".join(remarks)),
    ]


def report(
    context: typer.Context,
    destination: Annotated[
        Path | None,
        path_argument("DEST.html", "Where to write it (default: report.html in the workspace)."),
    ] = None,
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Tell what was done as one HTML page, with plots and pictures, that can be sent to anybody.

    The page needs no network and runs no script. It is made from one view of the catalogue,
    also while a round is running. With --json the facts behind the page are printed, and a
    page is written only where DEST.html is given.

    Example: curator report clean.html
    """
    from curator.report.data import collect_report
    from curator.report.report import report as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        if json and destination is None:
            emit_json(collect_report(workspace, call.progress()).as_json())
            return
        written = workflow(workspace, destination, force=force, progress=call.progress())
        call.finished_work.append(f"{written.destination} is written.")
    if json:
        emit_json(written.contents.as_json())
    else:
        emit(f"Wrote {shown(written.destination)} ({size(written.size)})")
