"""Plots as pieces of a page: no style of their own, no markup of others, the same bytes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from curator.charts.svg import POSITIVE, VARIABLES, Styles, draw, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HOSTILE = "</text><script>alert(1)</script> $x_{\\frac"


def bars(axes: Axes) -> None:
    axes.bar([0, 1], [3, 5], color=POSITIVE)
    axes.plot([0, 1], [1, 2], "o--")
    axes.set_xlabel(short_name(HOSTILE, 60))
    axes.set_ylabel("日本\u202e\n")


def drawn(key: str = "bars") -> tuple[str, Styles]:
    styles = Styles()
    return draw(key, bars, styles, title=HOSTILE, description="two bars"), styles


def test_text_of_others_stays_text() -> None:
    svg, _ = drawn()
    root = ET.fromstring(svg)
    assert not [one for one in root.iter() if one.tag.endswith("script")]
    assert HOSTILE in [one.text for one in root.iter("text")]
    assert root.find("title").text == HOSTILE  # type: ignore[union-attr]


def test_colours_are_the_pages_and_styles_are_classes() -> None:
    svg, styles = drawn()
    assert "style=" not in svg
    assert "<style" not in svg
    used = set(re.findall(r'class="(p\d+)"', svg))
    assert used == set(re.findall(r"\.(p\d+)\{", styles.css()))
    assert "var(--positive)" in styles.css()
    assert not any(stand_in in svg + styles.css() for stand_in in VARIABLES)


def test_a_reader_who_does_not_see_it_is_told() -> None:
    root = ET.fromstring(drawn("pool")[0])
    assert root.get("role") == "img"
    named = [root.find(f"*[@id='{one}']") for one in str(root.get("aria-labelledby")).split()]
    assert [one.text for one in named if one is not None] == [HOSTILE, "two bars"]


def test_ids_of_two_plots_never_meet_and_every_one_is_used() -> None:
    svgs = [drawn(key)[0] for key in ("one", "two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in svgs]
    assert not ids[0] & ids[1]
    for svg, mine in zip(svgs, ids, strict=True):
        pointed = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(
            re.findall(r'href="#([^"]+)"', svg)
        )
        assert pointed <= mine


def test_the_same_values_give_the_same_bytes_whatever_a_user_set_for_matplotlib() -> None:
    import matplotlib as mpl

    before = drawn()[0]
    with mpl.rc_context({"font.size": 30, "axes.spines.top": True, "svg.fonttype": "path"}):
        assert drawn()[0] == before
        assert mpl.rcParams["font.size"] == 30
