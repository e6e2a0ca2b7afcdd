"""`simulate` on real photographs, from the command line, from images to advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import fashion
from tests.support.command import curator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def garments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with features of 600 photographs, and `truth.csv` about them."""
    root = tmp_path_factory.mktemp("garments")
    pictures = fashion.write_folder(
        root / "pictures", positive=fashion.FOOTWEAR, per_class=60, part="t10k"
    )
    curator("init", root / "ws")
    curator("-q", "-w", root / "ws", "add", pictures)
    curator("-w", root / "ws", "config", "classifier.image_size=64")
    curator("-q", "-w", root / "ws", "encode")
    lines = [
        f"pictures/{path.parent.name}/{path.name},{path.parent.name}"
        for path in sorted(pictures.rglob("*.png"))
    ]
    (root / "truth.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    return root


PLAYED = (
    "--seeds", "30,60", "--max-error", "0.1", "--decisions", "200", "--repetitions", "3",
)  # fmt: skip


def test_a_table_a_plot_and_advice(garments: Path) -> None:
    said = curator("-w", garments / "ws", "simulate", garments / "truth.csv", *PLAYED)
    assert "600 images with known labels, 30.0% good." in said.stdout
    table = [line.split() for line in said.stdout.splitlines() if line.startswith("  ")]
    policies = [row[0] for row in table if row[0] in ("raw", "calibrated", "certified")]
    assert policies == ["raw", "raw", "calibrated", "calibrated", "certified", "certified"]
    assert "At most 0.1 wrong: label" in said.stdout
    assert (garments / "ws" / ".curator" / "reports" / "simulate.png").is_file()


def test_seeds_can_be_drawn_where_errors_are_expected(garments: Path) -> None:
    plain, informed = (
        curator(
            "-q", "-w", garments / "ws", "simulate", garments / "truth.csv", *PLAYED, "--json",
            "--policy", "raw", *more,
        ).json()["rows"]
        for more in ((), ("--informative",))
    )  # fmt: skip
    assert [row["decisions"] for row in informed] == [row["decisions"] for row in plain]
    assert [row["coverage"] for row in informed] != [row["coverage"] for row in plain]


def test_the_same_as_json_and_no_label_is_left_behind(garments: Path) -> None:
    arguments = ("simulate", garments / "truth.csv", *PLAYED, "--json")
    found = curator("-q", "-w", garments / "ws", *arguments).json()
    assert found["finished"] is True
    certified = [row for row in found["rows"] if row["setting"]["policy"] == "certified"]
    assert all(row["decisions"] <= 200 for row in certified)
    # Footwear is easy: 200 decisions promise 10% on real photographs.
    assert max(row["coverage"] for row in certified) > 0.5
    assert max(row["issued"] for row in certified) == 1.0
    assert all(row["error"] < 0.1 for row in certified if row["coverage"])
    status = curator("-w", garments / "ws", "status", "--json").json()
    assert status["rounds"] == []
    assert not any(count for origin in status["labels"].values() for count in origin.values())


@pytest.mark.parametrize(
    ("option", "code", "says"),
    [
        (("--seeds", "many"), 2, "is not a list of numbers"),
        (("--seeds", "0"), 2, "0 seeds are too few to train on"),
        (("--max-error", "0"), 3, "cannot be tested"),
        (("--max-error", "0.6"), 3, "cannot be tested"),
        (("--seeds", "400"), 3, "too few to simulate 400 seeds"),
        (("--policy", "wild"), 2, "no policy `wild`"),
    ],
)
def test_bad_wishes_are_refused(
    garments: Path, option: tuple[str, str], code: int, says: str
) -> None:
    arguments = ("simulate", garments / "truth.csv", *option)
    assert says in curator("-w", garments / "ws", *arguments, expect=code).stderr
