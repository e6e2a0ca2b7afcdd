"""Images that people dropped as near-duplicates, as events that are never changed.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add a table; no row changes."""
    op.create_table(
        "exclusion",
        sa.Column("id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("kept_id", KEY, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("target_id", KEY, nullable=True),
        sa.Column("step", KEY, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=True),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(kind = 'restore') = (target_id IS NOT NULL)",
            name=op.f("ck_exclusion_restore_has_target"),
        ),
        sa.CheckConstraint("image_id <> kept_id", name=op.f("ck_exclusion_keeps_another")),
        sa.CheckConstraint("kind IN ('exclude', 'restore')", name=op.f("ck_exclusion_kind_known")),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_exclusion_image_id_image")
        ),
        sa.ForeignKeyConstraint(["kept_id"], ["image.id"], name=op.f("fk_exclusion_kept_id_image")),
        sa.ForeignKeyConstraint(
            ["target_id"], ["exclusion.id"], name=op.f("fk_exclusion_target_id_exclusion")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exclusion")),
        sa.UniqueConstraint("target_id", name=op.f("uq_exclusion_target_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_exclusion_image", "exclusion", ["image_id"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER exclusion_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON exclusion"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        return
    for verb in ("update", "delete"):
        op.execute(
            f"CREATE TRIGGER exclusion_no_{verb} BEFORE {verb} ON exclusion BEGIN"
            " SELECT RAISE(ABORT, 'exclusion is append-only'); END"
        )


def downgrade() -> None:
    raise NotImplementedError("a catalogue only goes forward; restore the copy made before")
