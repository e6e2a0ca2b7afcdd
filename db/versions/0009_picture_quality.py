"""How pictures look: sharpness, brightness, contrast, entropy and size, measured by `add`.

Images of before have no row until `curator add --rehash` reads their files again.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add a table; no row changes."""
    op.create_table(
        "picture_quality",
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("sharpness", sa.Double(), nullable=True),
        sa.Column("brightness", sa.Double(), nullable=False),
        sa.Column("shadows", sa.Double(), nullable=False),
        sa.Column("highlights", sa.Double(), nullable=False),
        sa.Column(
            "contrast",
            sa.Double(),
            sa.Computed("highlights - shadows", persisted=False),
            nullable=False,
        ),
        sa.Column("entropy", sa.Double(), nullable=False),
        sa.Column("side", sa.Double(), nullable=False),
        sa.Column("aspect", sa.Double(), nullable=False),
        sa.Column("oddities", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_picture_quality_image_id_image")
        ),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_picture_quality")),
        sa.CheckConstraint("oddities >= 0", name=op.f("ck_picture_quality_oddities_not_negative")),
        sa.CheckConstraint("side > 0 AND aspect >= 1", name=op.f("ck_picture_quality_size_valid")),
    )
    odd = sa.text("oddities > 0")
    op.create_index(
        "ix_picture_quality_odd",
        "picture_quality",
        ["oddities"],
        unique=False,
        sqlite_where=odd,
        postgresql_where=odd,
    )


def downgrade() -> None:
    raise NotImplementedError("a catalogue only goes forward; restore the copy made before")
