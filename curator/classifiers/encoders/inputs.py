"""What an encoder expects to see: how large, and in which range of numbers.

A network works best at the size that it was trained at, but an image of 28 pixels holds
nothing that 224 would show: it would only cost sixty times as much. `auto` therefore
takes the native size, and less where nearly all of the pool is small.
"""

from __future__ import annotations

from dataclasses import dataclass

STRIDE = 32
"""Most networks halve their input five times; sizes are multiples of this."""

SMALLEST = 64
"""Below this, pre-trained networks have nothing left to look at."""

ENLARGE_AT_MOST = 2
"""How far an image may be enlarged before enlarging is waste."""

POOL_SHARE = 0.9
"""The share of images that must be small before the input shrinks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRule:
    """What a network expects: side in pixels, and mean and deviation of a pixel in [0, 255].

    `fixed` says that the network was made for one size only.
    """

    native_size: int
    fixed: bool
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


BUNDLED_RULE = InputRule(native_size=224, fixed=False, mean=(127.0,) * 3, deviation=(128.0,) * 3)
"""The default weights were trained on (x - 127) / 128, not on what timm notes for its own."""


def automatic_size(rule: InputRule, small_side: int | None) -> int:
    """Side of the input in pixels for a pool whose shorter sides are mostly `small_side`.

    `small_side` is the quantile `POOL_SHARE` of the images' shorter sides in pixels, None
    if it is not known.
    """
    if small_side is None or rule.fixed:
        return rule.native_size
    wanted = -(-ENLARGE_AT_MOST * small_side // STRIDE) * STRIDE
    return min(rule.native_size, max(SMALLEST, wanted))
