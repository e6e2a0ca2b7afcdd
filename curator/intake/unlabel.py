"""People's labels are taken back: a batch, or the labels that a file lists.

Nothing is deleted: each decision is taken back by an event, and what stood before it stands
again, also what an import with `--replace` had replaced. Answers that an audit's verdict used
stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from curator.audits.certificate import valid_certificates
from curator.base.text import count
from curator.base.vocabulary import Label
from curator.catalogue.batches import (
    CurrentDecision,
    LabelBatch,
    decisions_about,
    decisions_of_batch,
    list_batches,
)
from curator.catalogue.changes import CatalogueChange, list_changes, unlabel_number
from curator.catalogue.engine import Catalogue
from curator.catalogue.labels import UnlabelUndone, current, retract, undo_unlabel
from curator.catalogue.leases import new_session
from curator.errors import DataError, UsageError
from curator.intake.answers import Answer, Problems, printable, read_rows, with_images
from curator.workspace import Workspace

T = TypeVar("T", int, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelReport:
    """Decisions that were taken back, or after a dry run would be.

    `labels` is the user's label → decisions, `batches` the number of a batch → decisions of it.
    `locked` decisions are answers that an audit's verdict used; they stay. `certificates` counts
    those that held before and do not any more; in a dry run those that hold and may not then.
    `number` is what `undo` takes, None if nothing was taken back.
    """

    decisions: int
    images: int
    labels: Mapping[str, int]
    batches: Mapping[int, int]
    locked: int
    unlabelled: int
    certificates: int
    dry_run: bool
    number: int | None


def unlabel(
    workspace: Workspace,
    *,
    file: Path | None = None,
    batch: int | None = None,
    dry_run: bool = False,
    actor: str,
) -> UnlabelReport:
    """Take back the decisions of a batch, or those about the images of a CSV file.

    Where a row of the file has a label, only decisions for this label are taken back, whoever
    made them; an empty label stands for any. Raises
    UsageError unless exactly one of `file` and `batch` is given; DataError if there is no such
    batch, if a row of the file cannot be used, or if the open audit is about one of the images.
    """
    if (file is None) == (batch is None):
        raise UsageError(
            "Name the labels to take back: a CSV file, or --batch and a number.",
            "`curator log` lists the batches.",
        )
    catalogue, classes = workspace.catalogue, workspace.settings.classes
    if batch is not None:
        decisions = decisions_of_batch(catalogue, batch)
        name = f"batch {batch}, taken back"
    else:
        assert file is not None
        decisions = _decisions_in_file(workspace, file)
        name = f"{file.absolute()}, taken back"
    free = [decision for decision in decisions if not decision.locked]
    valid = valid_certificates(catalogue)
    number = None
    if free and not dry_run:
        session = new_session()
        retract(
            catalogue,
            [decision.event_id for decision in free],
            actor=actor,
            session=session,
            give_back=name,
        )
        number = unlabel_number(catalogue, session)
        valid -= valid_certificates(catalogue)
    images = sorted({decision.image_id for decision in free})
    unlabelled = 0
    if not dry_run:
        unlabelled = sum(record.standing is None for record in current(catalogue, images).values())
    return UnlabelReport(
        decisions=len(free),
        images=len(images),
        labels=_counted(classes.name_of(decision.label) for decision in free),
        batches=_counted(decision.batch_id for decision in free),
        locked=len(decisions) - len(free),
        unlabelled=unlabelled,
        certificates=len(valid) if free else 0,
        dry_run=dry_run,
        number=number,
    )


def log(catalogue: Catalogue) -> list[LabelBatch | CatalogueChange]:
    """Batches of labels and other changes by people, the oldest first."""
    entries: list[LabelBatch | CatalogueChange] = [
        *list_batches(catalogue),
        *list_changes(catalogue),
    ]
    return sorted(entries, key=lambda entry: entry.started_at)


def undo(catalogue: Catalogue, number: int, *, dry_run: bool = False, actor: str) -> UnlabelUndone:
    """Record again what the `unlabel` of this number took back, unless people decided since."""
    return undo_unlabel(catalogue, number, actor=actor, session=new_session(), dry_run=dry_run)


def _decisions_in_file(workspace: Workspace, file: Path) -> list[CurrentDecision]:
    classes = workspace.settings.classes
    labels_of: dict[int, set[Label | None]] = {}
    problems = Problems()
    rows = read_rows(file)
    # A row of a CSV lists its image also without a label; of a task or a sample, nothing was said.
    is_list = file.suffix.lower() != ".json"
    for row, image_id in with_images(workspace.catalogue, rows, file):
        if isinstance(row, Answer) and not (row.label or is_list):
            continue
        if not isinstance(row, Answer):
            problems.add(row.line, row.text)
        elif image_id is None:
            problems.add(row.line, row.unknown_image())
        else:
            label = classes.label_of(row.label) if row.label else None
            if row.label and label is None:
                problems.add(row.line, f"there is no label `{printable(row.label)}`")
            labels_of.setdefault(image_id, set()).add(label)
    if problems:
        raise DataError(
            f"{file}: {count(problems.line_count(), 'row')} not usable, so nothing was taken"
            f" back:{problems.shown()}",
            "Correct these rows, then run it again.",
        )
    return [
        decision
        for decision in decisions_about(workspace.catalogue, list(labels_of))
        if labels_of[decision.image_id] & {None, decision.label}
    ]


def _counted(values: Iterable[T]) -> dict[T, int]:
    return dict(sorted(Counter(values).items()))
