"""No signatures of near-duplicates: they are made from previews when pictures are compared.

They are as large as the rest of the catalogue three times over, and were copied with each backup.
The room of the table is used again by rows that come later.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("image_signature")


def downgrade() -> None:
    raise NotImplementedError("a catalogue only goes forward; restore the copy made before")
