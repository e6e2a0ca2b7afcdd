"""Random draws are recorded, so that a label measures only the frame that it was drawn from.

Labels of the queue `calibration` of earlier versions measured the pool, and rightly: the queue drew
from all images without a human label, promoted or not, and was labelled blind. They go on to do so
in draws whose frame ends at the newest image of the time when they were given. Labels of the former
queue `random` have the origin `review`: they were given with a view of the scores, and measure
nothing.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.BigInteger()  # microseconds since 1970, UTC


def upgrade() -> None:
    op.create_table(
        "random_draw",
        sa.Column("id", KEY, nullable=False),
        sa.Column("seed", KEY, nullable=False),
        sa.Column("newest_image_id", KEY, nullable=False),
        sa.Column("frame_size", KEY, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "newest_image_id >= 0 AND frame_size >= 0",
            name=op.f("ck_random_draw_frame_not_negative"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_random_draw")),
    )
    op.create_table(
        "random_draw_member",
        sa.Column("draw_id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("place", KEY, nullable=False),
        sa.CheckConstraint("place >= 0", name=op.f("ck_random_draw_member_place_not_negative")),
        sa.ForeignKeyConstraint(
            ["draw_id"],
            ["random_draw.id"],
            name=op.f("fk_random_draw_member_draw_id_random_draw"),
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["image.id"], name=op.f("fk_random_draw_member_image_id_image")
        ),
        sa.PrimaryKeyConstraint("draw_id", "image_id", name=op.f("pk_random_draw_member")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_random_draw_member_image", "random_draw_member", ["image_id"], unique=False)
    _record_former_samples()


def _record_former_samples() -> None:
    """A draw for each pool that labels of `calibration` were drawn from, in their order."""
    connection = op.get_bind()
    labels = connection.execute(
        sa.text(
            "SELECT e.image_id, e.id, e.made_at FROM image_state s"
            " JOIN label_event e ON e.id = s.pinned_by WHERE e.origin = 'calibration' ORDER BY e.id"
        )
    ).all()
    if not labels:
        return
    added = connection.execute(sa.text("SELECT added_at, id FROM image ORDER BY added_at")).all()
    moments = [moment for moment, _ in added]
    newest_until = list(accumulate((image_id for _, image_id in added), max))
    draws: dict[int, tuple[int, int]] = {}
    for image_id, event_id, made_at in labels:
        newest = newest_until[bisect_right(moments, made_at) - 1]
        if newest not in draws:
            frame = connection.execute(
                sa.text(
                    "SELECT count(*) FROM image_state WHERE usable = 1 AND image_id <= :newest"
                    " AND (pinned_by IS NULL OR pinned_by >= :event)"
                ),
                {"newest": newest, "event": event_id},
            ).scalar_one()
            draws[newest] = (len(draws) + 1, 0)
            connection.execute(
                sa.text(
                    "INSERT INTO random_draw (id, seed, newest_image_id, frame_size, made_at)"
                    " VALUES (:id, -1, :newest, :frame, :made_at)"
                ),
                {"id": len(draws), "newest": newest, "frame": frame, "made_at": made_at},
            )
        draw_id, position = draws[newest]
        draws[newest] = (draw_id, position + 1)
        connection.execute(
            sa.text(
                "INSERT INTO random_draw_member (draw_id, image_id, place)"
                " VALUES (:draw, :image, :position)"
            ),
            {"draw": draw_id, "image": image_id, "position": position},
        )


def downgrade() -> None:
    raise NotImplementedError("a catalogue only goes forward; restore the copy made before")
