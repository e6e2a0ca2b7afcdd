"""From which file or folder labels were imported, so that an import can be taken back as a batch.

Events of earlier imports have no session: they are told apart by who made them when.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "label_import",
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("file", sa.String(), nullable=False),
        sa.CheckConstraint("length(file) > 0", name=op.f("ck_label_import_file_not_empty")),
        sa.PrimaryKeyConstraint("session", name=op.f("pk_label_import")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    raise NotImplementedError("a catalogue only goes forward; restore the copy made before")
