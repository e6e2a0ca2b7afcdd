"""Audits are planned first, drawn from a salt, and asked one stratum after the other.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # Audits of before have neither: they are drawn from the seed, and asked as a whole.
    op.add_column("audit", sa.Column("salt", sa.String(), nullable=True))
    op.add_column("audit", sa.Column("asking", KEY, nullable=True))
    op.create_table(
        "planned_audit",
        sa.Column("id", KEY, nullable=False),
        sa.Column("frame_id", KEY, nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("design", sa.JSON(), nullable=False),
        sa.Column("seed", KEY, nullable=False),
        sa.Column("max_error", sa.Double(), nullable=False),
        sa.Column("level", sa.Double(), nullable=False),
        sa.Column("planned_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_planned_audit_only_one")),
        sa.CheckConstraint(
            "scope IN ('all', 'positive', 'negative')",
            name=op.f("ck_planned_audit_scope_known"),
        ),
        sa.ForeignKeyConstraint(
            ["frame_id"], ["frame.id"], name=op.f("fk_planned_audit_frame_id_frame")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_planned_audit")),
    )


def downgrade() -> None:
    raise NotImplementedError("a catalogue only goes forward; restore the copy made before")
