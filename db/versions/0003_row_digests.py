"""Digests of stored features, packed pixels and previews.

What was stored before has none until it is compared or made again.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add a table and a column; no row changes."""
    op.create_table(
        "feature_block",
        sa.Column("feature_set_id", KEY, nullable=False),
        sa.Column("number", KEY, nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("feature_set_id", "number", name=op.f("pk_feature_block")),
        sa.ForeignKeyConstraint(
            ["feature_set_id"],
            ["feature_set.id"],
            name=op.f("fk_feature_block_feature_set_id_feature_set"),
        ),
        sa.CheckConstraint("number >= 0", name=op.f("ck_feature_block_number_not_negative")),
        sqlite_with_rowid=False,
    )
    op.add_column("preview", sa.Column("digest", KEY, nullable=True))
