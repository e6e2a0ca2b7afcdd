"""Which workspace a catalogue belongs to: a random name, in it and in a file beside it."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from curator.catalogue.constructs import insert_or_ignore
from curator.catalogue.engine import Catalogue
from curator.catalogue.models import WorkspaceIdentity


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
