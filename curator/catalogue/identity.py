"""Which workspace a catalogue belongs to, and what its classes are called.

A random name of the workspace is in the catalogue and in a file beside it.
"""

from __future__ import annotations

import shlex
import uuid

import sqlalchemy as sa

from curator.catalogue.constructs import insert_or_ignore
from curator.catalogue.engine import Catalogue
from curator.catalogue.models import LabelEvent, WorkspaceIdentity
from curator.errors import CatalogueError
from curator.settings.sections import ClassesSettings


def catalogue_identity(catalogue: Catalogue, beside: str | None) -> str | None:
    """The name of the workspace that the catalogue belongs to.

    A catalogue without a name gets the one that stands `beside` it, or a new one; None if it
    cannot be written.
    """
    query = sa.select(WorkspaceIdentity.c.identity)
    with catalogue.read() as connection:
        identity = connection.execute(query).scalar()
    if identity is None and not catalogue.read_only:
        name = beside or uuid.uuid4().hex
        with catalogue.write() as connection:
            # Of two processes that come at once, the second keeps the name of the first.
            connection.execute(insert_or_ignore(WorkspaceIdentity).values(id=1, identity=name))
            identity = connection.execute(query).scalar()
    return identity


def keep_class_names(catalogue: Catalogue, classes: ClassesSettings) -> None:
    """Let the catalogue hold the names of the classes, unless they exchange what labels mean.

    Labels are stored as positive and negative. Raises CatalogueError if a class has the name that
    the other one had when images got labels: what people called `bad` would be exported as `good`.
    """
    columns = WorkspaceIdentity.c
    names = (classes.positive, classes.negative)
    with catalogue.read() as connection:
        query = sa.select(columns.positive_name, columns.negative_name)
        row = connection.execute(query).first()
        if row is None or tuple(row) == names:
            return
        has_labels = connection.execute(sa.select(LabelEvent.c.id).limit(1)).first() is not None
    if row.positive_name is not None and has_labels:
        before = classes.model_copy(
            update={"positive": row.positive_name, "negative": row.negative_name}
        )
        for side, name in (("positive", classes.positive), ("negative", classes.negative)):
            former = before.label_of(name)
            if former not in (None, side):
                words = [
                    f"classes.positive={before.positive}",
                    f"classes.negative={before.negative}",
                ]
                raise CatalogueError(
                    f"`{name}` is the name of the {former} class, and images have labels. As the"
                    f" name of the {side} class it would exchange what these labels mean.",
                    f"Keep the names: `curator config {shlex.join(words)}`. To correct labels,"
                    " import them again with `curator label FILE.csv --replace`. To exchange the"
                    " names nevertheless, give that class a third name first.",
                )
    if not catalogue.read_only:
        has_written = catalogue.has_written
        with catalogue.write() as connection:
            values = {"positive_name": classes.positive, "negative_name": classes.negative}
            connection.execute(sa.update(WorkspaceIdentity).values(values))
        # To look at a workspace after renaming a class is no work of the command that looks.
        catalogue.has_written = has_written
