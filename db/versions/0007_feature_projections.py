"""Projections of features: an encoder's raw numbers on the leading directions of a pool.

They cannot be computed again once images have come or gone, so they belong to the catalogue.
Feature sets of before have none: their numbers are those of a final layer.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add a table; no row changes."""
    op.create_table(
        "feature_projection",
        sa.Column("feature_set_id", KEY, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("images_added", KEY, nullable=False),
        sa.Column("captured_added", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("feature_set_id", name=op.f("pk_feature_projection")),
        sa.ForeignKeyConstraint(
            ["feature_set_id"],
            ["feature_set.id"],
            name=op.f("fk_feature_projection_feature_set_id_feature_set"),
        ),
        sa.CheckConstraint(
            "images_added >= 0", name=op.f("ck_feature_projection_added_not_negative")
        ),
    )


def downgrade() -> None:
    raise NotImplementedError("a catalogue only goes forward; restore the copy made before")
