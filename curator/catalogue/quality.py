"""How pictures look, and which of the usable images stand out by it.

The limits were chosen beside CleanVision (docs/benchmarks.md). What more than half of the images
have is usual there and stands out by nothing: a set of dark pictures has no dark ones. Nothing is
decided by this; it names images to look at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.arrays import IntArray
from curator.base.vocabulary import Oddity
from curator.catalogue.constructs import within
from curator.catalogue.engine import Catalogue
from curator.catalogue.models import Image, ImageState, PictureQualityRow

DARK_HIGHLIGHTS = 0.37
"""An image is dark whose 99th percentile of brightness is lower; as in CleanVision."""
BRIGHT_SHADOWS = 0.92
"""An image is bright whose 5th percentile of brightness is higher."""
UNIFORM_CONTRAST = 0.06
"""An image is uniform whose percentiles lie nearer to each other."""
BLURRED_SHARE, BLURRED_SHARPNESS = 0.6, 0.5
"""An image is blurred with less than this share of the median sharpness, and less than 0.5."""
JUDGED_CONTRAST = 0.15
"""Below this contrast, rounding to 256 grey levels decides the sharpness, so it says nothing."""
TINY_SHARE, TINY_SIDE = 1 / 3, 224.0
"""An image is tiny with less than this share of the median side, and less than 224 pixels."""
ELONGATED_ASPECT = 3.0
"""An image is elongated whose longer side is more than this times the shorter one."""

MEASURES = ("sharpness", "brightness", "contrast", "entropy", "side", "aspect")
"""The measures that images are filtered and sorted by."""
FILE_MEASURES = ("size", "width", "height")
"""Bytes of the file and pixels of the image, which can be bounded, too."""
_UNITS = {"": 1, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}

_QUALITY = PictureQualityRow.c
_OF_USABLE = sa.and_(ImageState.c.image_id == _QUALITY.image_id, ImageState.c.usable == 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OddCounts:
    """Usable images by what they stand out by, several things at once perhaps.

    `unmeasured` ones were added by an earlier version and not read since.
    """

    unmeasured: int = 0
    by_oddity: Mapping[Oddity, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityBound:
    """A condition on one of `MEASURES` or `FILE_MEASURES`: less than `value`, or more."""

    measure: str
    is_upper: bool
    value: float

    def __str__(self) -> str:
        return f"{self.measure}{'<' if self.is_upper else '>'}{self.value:g}"


def read_bound(text: str) -> QualityBound:
    """The bound that `sharpness<0.3` means. Raises ValueError with what is wrong with it."""
    parts = re.fullmatch(r"\s*(\w+)\s*([<>])\s*(\d+\.?\d*|\.\d+)\s*([kMG]B)?\s*", text)
    if parts is None:
        raise ValueError(f"`{text}` is not a bound; write sharpness<0.3 or size>20kB")
    measure, sign, number, unit = parts.groups()
    if measure not in (*MEASURES, *FILE_MEASURES):
        names = ", ".join((*MEASURES, *FILE_MEASURES))
        raise ValueError(f"there is no measure `{measure}`; there are {names}")
    if unit and measure != "size":
        raise ValueError(f"`{measure}` is not counted in {unit}")
    value = float(number) * _UNITS[unit or ""]
    return QualityBound(measure=measure, is_upper=sign == "<", value=value)


def within_bounds(image_id: sa.ColumnElement[Any], bounds: Sequence[QualityBound]) -> Any:
    """Whether an image was measured and lies within all bounds."""
    # Under other names: the query around may read the same tables.
    quality, image = PictureQualityRow.alias().c, Image.alias().c
    tables = ((quality.image_id, quality, MEASURES), (image.id, image, FILE_MEASURES))
    return sa.and_(
        *(
            sa.exists().where(
                key == image_id,
                columns[bound.measure] < bound.value
                if bound.is_upper
                else columns[bound.measure] > bound.value,
            )
            for key, columns, measures in tables
            for bound in bounds
            if bound.measure in measures
        )
    )


def mark_odd_images(catalogue: Catalogue) -> OddCounts:
    """Mark the usable images that stand out now, and count them. One transaction."""
    fixed: dict[Oddity, sa.ColumnElement[bool]] = {
        Oddity.DARK: _QUALITY.highlights < DARK_HIGHLIGHTS,
        Oddity.BRIGHT: _QUALITY.shadows > BRIGHT_SHADOWS,
        Oddity.UNIFORM: _QUALITY.contrast < UNIFORM_CONTRAST,
        Oddity.ELONGATED: _QUALITY.aspect > ELONGATED_ASPECT,
    }
    judged = _QUALITY.contrast >= JUDGED_CONTRAST
    with catalogue.write() as connection:
        number = sa.func.count().filter
        counted = sa.select(sa.func.count(), *(number(each) for each in fixed.values()))
        joined = counted.select_from(PictureQualityRow).join(ImageState, _OF_USABLE)
        total, *counts = connection.execute(joined).one()
        conditions = {
            oddity: condition
            for (oddity, condition), count in zip(fixed.items(), counts, strict=True)
            if count <= total / 2
        }
        if (usual := _median(connection, _QUALITY.sharpness, judged)) is not None:
            limit = min(BLURRED_SHARE * usual, BLURRED_SHARPNESS)
            conditions[Oddity.BLURRED] = sa.and_(_QUALITY.sharpness < limit, judged)
        if (usual := _median(connection, _QUALITY.side)) is not None:
            conditions[Oddity.TINY] = _QUALITY.side < min(TINY_SHARE * usual, TINY_SIDE)
        oddities: Any = sum(
            sa.case((condition, oddity.bit), else_=0) for oddity, condition in conditions.items()
        )
        change = sa.update(PictureQualityRow).where(_QUALITY.oddities != oddities)
        connection.execute(change.values(oddities=oddities))
        usable = sa.select(sa.func.count()).where(ImageState.c.usable == 1)
        unmeasured = connection.execute(usable).scalar_one() - total
        return OddCounts(unmeasured=unmeasured, by_oddity=count_odd(connection))


def _median(
    connection: Connection, measure: sa.Column[Any], *conditions: sa.ColumnElement[bool]
) -> float | None:
    """The median of a measure over the usable images that have it; the lower of two."""
    of_usable = (measure.is_not(None), *conditions)
    count = sa.select(sa.func.count()).select_from(PictureQualityRow).join(ImageState, _OF_USABLE)
    total = connection.execute(count.where(*of_usable)).scalar_one()
    ordered = sa.select(measure).join(ImageState, _OF_USABLE).where(*of_usable).order_by(measure)
    return connection.execute(ordered.limit(1).offset(max(0, total - 1) // 2)).scalar()


def count_odd(connection: Connection) -> dict[Oddity, int]:
    """The usable images that stand out as they were last marked, by what they stand out by."""
    # Literally the condition of the partial index, so that it is used.
    odd = sa.text("picture_quality.oddities > 0")
    query = sa.select(_QUALITY.oddities, sa.func.count()).join(ImageState, _OF_USABLE).where(odd)
    rows = connection.execute(query.group_by(_QUALITY.oddities)).all()
    counts = {each: sum(count for bits, count in rows if bits & each.bit) for each in Oddity}
    return {oddity: number for oddity, number in counts.items() if number}


def oddities_of(catalogue: Catalogue, image_ids: Sequence[int]) -> dict[int, list[Oddity]]:
    """What each of these images stands out by; images that stand out by nothing are left out."""
    query = sa.select(_QUALITY.image_id, _QUALITY.oddities).where(
        within(_QUALITY.image_id, image_ids), _QUALITY.oddities > 0
    )
    with catalogue.read() as connection:
        return {
            image_id: [oddity for oddity in Oddity if bits & oddity.bit]
            for image_id, bits in connection.execute(query)
        }


def any_measured(catalogue: Catalogue) -> bool:
    """Whether any image was measured."""
    with catalogue.read() as connection:
        return connection.execute(sa.select(_QUALITY.image_id).limit(1)).scalar() is not None


def measure_histogram(
    catalogue: Catalogue, measure: str, *, low: float, high: float, bins: int = 24
) -> IntArray:
    """How many usable images have a measure in each of `bins` equal intervals.

    What lies below `low` or from `high` on is counted at the ends.
    """
    histogram = np.zeros(bins, dtype=np.int64)
    interval = sa.cast((_QUALITY[measure] - low) * (bins / (high - low)), sa.Integer)
    query = sa.select(interval, sa.func.count()).join(ImageState, _OF_USABLE)
    with catalogue.read() as connection:
        counted = query.where(_QUALITY[measure].is_not(None)).group_by(interval)
        for index, count in connection.execute(counted):
            histogram[min(max(index, 0), bins - 1)] += count
    return histogram
