"""Which workspace a catalogue belongs to, and which run of which computer holds a lease.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # NULL is what an older curator has written: which computer that was is not known.
    op.add_column("lease", sa.Column("computer", sa.String(), nullable=True))
    op.create_table(
        "workspace_identity",
        sa.Column("id", KEY, nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_workspace_identity_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workspace_identity")),
    )


def downgrade() -> None:
    raise NotImplementedError("a catalogue only goes forward; restore the copy made before")
