"""How the 200 cells of `labels.csv` were chosen; run it to write the file again.

Only cells on which all raters agreed are taken (defect probability 0 or 1). The four
strata (functional or defective, mono- or polycrystalline) have as many seeds as their
share of these cells asks for, drawn at random with a fixed seed. Nobody looked at the
pictures, and no result was used.
"""

from __future__ import annotations

import hashlib
import random
from fractions import Fraction
from importlib import resources
from pathlib import Path

SEEDS = 200
LABELS = {0.0: "functional", 1.0: "defective"}

Stratum = tuple[str, str]


def choose() -> str:
    """The content of `labels.csv`, made from the installed package `elpv-dataset`."""
    data = resources.files("elpv_dataset") / "data"
    strata: dict[Stratum, list[str]] = {}
    for line in (data / "labels.csv").read_text(encoding="ascii").splitlines():
        path, probability, kind = line.split()
        if float(probability) in LABELS:
            strata.setdefault((LABELS[float(probability)], kind), []).append(path)
    chance = random.Random(0)
    rows = []
    for stratum, count in sorted(shares(strata).items()):
        for path in chance.sample(strata[stratum], count):
            digest = hashlib.sha256((data / path).read_bytes()).hexdigest()
            rows.append((path, digest, stratum[0]))
    return "".join(",".join(row) + "\n" for row in [("path", "sha256", "label"), *sorted(rows)])


def shares(strata: dict[Stratum, list[str]]) -> dict[Stratum, int]:
    """Seeds per stratum in proportion to its size, by largest remainders."""
    total = sum(map(len, strata.values()))
    exact = {stratum: Fraction(SEEDS * len(cells), total) for stratum, cells in strata.items()}
    counts = {stratum: int(share) for stratum, share in exact.items()}
    by_remainder = sorted(exact, key=lambda stratum: (counts[stratum] - exact[stratum], stratum))
    for stratum in by_remainder[: SEEDS - sum(counts.values())]:
        counts[stratum] += 1
    return counts


if __name__ == "__main__":
    (Path(__file__).parent / "labels.csv").write_text(choose(), encoding="ascii")
