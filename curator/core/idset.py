"""A set of image ids that costs a bit an image, however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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

    def __contains__(self, number: int) -> bool:
        byte, bit = divmod(number, 8)
        return byte < len(self._bits) and bool(self._bits[byte] >> bit & 1)

    def __len__(self) -> int:
        return int.from_bytes(self._bits, "little").bit_count()

    def are(self, ids: Iterable[int]) -> bool:
        """Whether exactly these are in it."""
        others = ids if isinstance(ids, IdSet) else IdSet(ids)
        return self._bits.rstrip(b"\0") == others._bits.rstrip(b"\0")

    def __iter__(self) -> Iterator[int]:
        """The numbers, rising."""
        for place, byte in enumerate(self._bits):
            for bit in range(8 if byte else 0):
                if byte >> bit & 1:
                    yield 8 * place + bit
