"""A set of image ids that costs a bit an image, however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from curator.base.arrays import BoolArray, IntArray

_GROWTH = 4_096


class IdSet:
    """A set of non-negative whole numbers."""

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._bits = bytearray()
        for number in ids:
            self.add(number)

    def add(self, number: int) -> None:
        """Put a number in."""
        byte, bit = divmod(number, 8)
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits) + _GROWTH))
        self._bits[byte] |= 1 << bit

    def add_all(self, numbers: IntArray) -> None:
        """Put an array of numbers in, (n,)."""
        if not len(numbers):
            return
        missing = (int(numbers.max()) >> 3) + 1 - len(self._bits)
        if missing > 0:
            self._bits.extend(bytes(missing + _GROWTH))
        bits = np.frombuffer(self._bits, dtype=np.uint8)
        masks = np.left_shift(1, numbers & 7).astype(np.uint8)
        np.bitwise_or.at(bits, numbers >> 3, masks)

    def holds(self, numbers: IntArray) -> BoolArray:
        """Which of an array of numbers are in it, (n,)."""
        inside = numbers >> 3 < len(self._bits)
        bits = np.frombuffer(self._bits, dtype=np.uint8)
        contained = np.zeros(len(numbers), dtype=np.bool_)
        contained[inside] = (bits[numbers[inside] >> 3] >> (numbers[inside] & 7)) & 1 > 0
        return contained

    def __contains__(self, number: int) -> bool:
        byte, bit = divmod(number, 8)
        return byte < len(self._bits) and bool(self._bits[byte] >> bit & 1)

    def __len__(self) -> int:
        return int.from_bytes(self._bits, "little").bit_count()

    def are(self, ids: Iterable[int]) -> bool:
        """Whether exactly these are in it."""
        compared = ids if isinstance(ids, IdSet) else IdSet(ids)
        # Sets that grew differently end with different numbers of empty bytes.
        return self._bits.rstrip(b"\0") == compared._bits.rstrip(b"\0")

    def __iter__(self) -> Iterator[int]:
        """The numbers, rising."""
        for index, byte in enumerate(self._bits):
            for bit in range(8 if byte else 0):
                if byte >> bit & 1:
                    yield 8 * index + bit
