"""Commands that promise error instead of probability: `audit`, `certify`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from curator.base.text import count
from curator.cli.invocation import Invocation, invocation
from curator.cli.options import AsJson, agreed, flag, value
from curator.cli.output import emit, emit_json, narrate, shown, table
from curator.errors import DataError, UsageError

if TYPE_CHECKING:
    from curator.audits.audit import AuditReport
    from curator.audits.certify import CertifyReport
    from curator.catalogue.audits import AuditRecord
    from curator.workspace import Workspace

_UNPROVEN = 3


def audit(
    context: typer.Context,
    size: Annotated[
        int | None, value("N", "Images to answer (default: what the plan recommends).", min=1)
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help="About this class alone, on its own budget; else what classes.deliver says.",
        ),
    ] = None,
    missed: Annotated[
        bool, flag("--missed", help="Bound how many of the rarer class were missed.")
    ] = False,
    until: Annotated[
        float | None,
        value(
            "SHARE",
            "Ask about the most certain SHARE of the images, such as 0.6, until that is proved.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, flag("--dry-run", help="Show what an audit could prove, and store nothing.")
    ] = False,
    anyway: Annotated[
        bool, flag("--anyway", help="Open it even if it is expected to certify little.")
    ] = False,
    abandon: Annotated[
        bool, flag("--abandon", help="Abandon the open audit; what it spent stays spent.")
    ] = False,
    no_screen: Annotated[
        bool, flag("--no-screen", help="Plan it, and say how to answer it elsewhere.")
    ] = False,
    plain: Annotated[bool, flag("--plain", help="Ask line by line, without a screen.")] = False,
    yes: Annotated[
        bool, flag("--yes", help="Do not ask before it is opened or abandoned.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Look at a blind random sample of what rounds promote, to prove how much of it is wrong.

    It says beforehand what can be expected, what the certificate will cover and what it costs,
    and asks. Then it shows the images without score or class, the most certain part first, and
    the others only if that part is right. If you leave, the same command goes on. `certify`
    draws the conclusion. Each audit spends a part of the allowed risk (1 -
    promotion.confidence), but nothing before its first image is shown or exported. Under
    promotion.policy = "certified" it decides what stays promoted; under "thresholds" it bounds
    the error of all that is promoted.

    Without --until the number of images is fixed beforehand, and how much is proved follows.
    With it the part to be proved is fixed, and the audit ends as soon as it is.

    Example: curator audit --dry-run

    Example: curator audit --size 400

    Example: curator audit --until 0.6
    """
    from curator.audits import audit as workflow

    call = invocation(context)
    if abandon and (size or class_name or missed or until or dry_run or anyway):
        raise UsageError("--abandon goes with no other option.", "Leave the others out.")
    with call.workspace() as workspace:
        if abandon:
            if yes or _may_abandon(workflow.required(workspace.catalogue)):
                _print_abandoned(workflow.abandon(workspace), json=json)
            else:
                emit("Nothing was changed.")
            return
        report = workflow.audit(
            workspace,
            size=size,
            class_name=class_name,
            missed=missed,
            until=until,
            anyway=anyway,
            dry_run=dry_run,
            progress=call.progress(),
        )
        if json:
            emit_json(report.as_json(workspace.settings.classes))
        else:
            emit("\n".join(map(shown, report.text.split("\n"))))
        if not dry_run:
            _answer(call, workspace, report, elsewhere=no_screen or json, plain=plain, yes=yes)


def certify(context: typer.Context, json: AsJson = False) -> None:
    """Close the audit: test it, promote what passed, revoke the rest, issue the certificate.

    What nobody confirmed counts as wrong: another class, unsure, skipped, not to be shown. If
    nothing can be promised, no label changes, it says what it would take, and ends with 3.

    Example: curator certify
    """
    from curator.audits.certify import certify as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        report = workflow(workspace, progress=call.progress())
        classes = workspace.settings.classes
    if json:
        emit_json(report.as_json(classes))
    else:
        emit("\n".join(_certify_lines(report)))
    if report.certificate is None:
        raise typer.Exit(_UNPROVEN)


def _answer(
    call: Invocation,
    workspace: Workspace,
    report: AuditReport,
    *,
    elsewhere: bool,
    plain: bool,
    yes: bool,
) -> None:
    """Put the images before the person, or say how else they can be answered."""
    from curator.audits.audit import audit as workflow
    from curator.cli.review import (
        review_lines,
        review_on_screen,
        say_commitment,
        there_is_a_screen,
    )
    from curator.report.status import status
    from curator.review.filter import WHOLE
    from curator.review.selection import NO_EXAMPLES

    on_screen = not plain and there_is_a_screen()
    if report.waiting and not elsewhere and (plain or on_screen):
        if report.record is None and not (yes or _may_open()):
            emit("Nothing was opened or spent.")
            return
        say_commitment(call, workspace)
    while report.waiting and not elsewhere and (plain or on_screen):
        if plain:
            review_lines(call, workspace, "audit", examples=NO_EXAMPLES, view=WHOLE)
        else:
            review_on_screen(
                call, workspace, "audit", examples=NO_EXAMPLES, goal=report.waiting, view=WHOLE
            )
        present = status(workspace)
        if present.audit is None or present.waiting:  # left in the middle
            break
        # Every image of this part is answered: its answers are used, and the next part asked.
        report = workflow(workspace)
        call.say(report.text)
    if report.waiting and (elsewhere or not (plain or on_screen)):
        audit_id = report.record.audit_id if report.record else None
        images = count(report.waiting, "image")
        if audit_id is None:
            call.say(f"Nothing is opened or spent yet. {images} are asked first.")
        else:
            call.say(f"Audit {audit_id} is open: {images} to look at.")
        call.next_step = (
            "Without a screen: curator queue audit --output audit.csv, fill in the column"
            " `label`, then curator label audit.csv, and curator certify, which asks for more where"
            " that is needed."
        )
        return
    call.next_step = status(workspace).advice()


def _may_open() -> bool:
    """Whether the person agrees to what the audit costs; DataError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise DataError(
            "Nobody can be asked whether to open this audit, so nothing was opened or spent.",
            "`--yes` opens it; `--no-screen` only plans it, and `curator queue audit` opens it"
            " when it exports the first images.",
        )
    return agreed("Open it?")


def _may_abandon(record: AuditRecord) -> bool:
    """Whether the person agrees, who is told what is lost; DataError where nobody can be asked."""
    lost = (
        f"Audit {record.audit_id} has {count(record.answered, 'answer')} and spent a risk of"
        f" {record.risk:.4g}. That stays spent if it is abandoned, and nothing is certified."
    )
    if not sys.stdin.isatty():
        raise DataError(
            f"{lost} Nothing was changed.",
            "Go on with it by `curator audit`; `curator audit --abandon --yes` abandons it.",
        )
    narrate(lost)
    return agreed("Abandon it?")


def _print_abandoned(record: AuditRecord, *, json: bool) -> None:
    if json:
        emit_json({"audit": record.audit_id, "answered": record.answered, "spent": record.risk})
        return
    emit(
        f"Audit {record.audit_id} is abandoned. Its {count(record.answered, 'answer')} stay labels;"
        f" the risk of {record.risk:.4g} that it spent stays spent."
    )


def _certify_lines(report: CertifyReport) -> list[str]:
    lines = [shown(report.text)]
    counts = ((report.unsure, "unsure"), (report.skipped, "skipped"), (report.unshowable, "gone"))
    unconfirmed = ", ".join(f"{number:,} {outcome}" for number, outcome in counts if number)
    if unconfirmed:
        lines.append(f"Also counted as wrong: {unconfirmed}.")
    if report.left:
        lines.append(
            f"{count(report.left, 'image')} left the frame after the audit was drawn: not included."
        )
    certificate = report.certificate
    if certificate is None:
        return lines
    if report.promoted or report.revoked:
        lines.append(f"{report.promoted:,} promoted, {report.revoked:,} revoked.")
    steps = certificate.details.get("steps", [])
    if steps:
        columns = ("size", "drawn", "errors", "critical")
        rows = [
            [*(step[name] for name in columns), "yes" if step["passed"] else "no"] for step in steps
        ]
        lines.append(table(["set", "audited", "errors", "at most", "passed"], rows))
    lines.append(
        f"Certificate {certificate.certificate_id}: attempt {certificate.attempt}, frame"
        f" {certificate.frame_digest}"
    )
    if report.commitment:
        lines.append(f"Commitment to its answers and images: {report.commitment}")
    return lines
