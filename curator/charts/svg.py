"""Plots as pieces of HTML: drawn by matplotlib, coloured by the page that they stand in.

A plot is drawn with stand-in colours. Its SVG is then read as XML and cleaned: every style
becomes a class with the page's own variables for colours, so that light, dark and print need
no second drawing, a strict content policy can forbid inline styles, and text is the
reader's font. The same values give the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from curator.base.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#0a0101"
QUIET = "#0a0102"
GRID = "#0a0103"
GROUND = "#0a0104"
POSITIVE = "#0a0105"
POSITIVE_SOFT = "#0a0106"
NEGATIVE = "#0a0107"
NEGATIVE_SOFT = "#0a0108"
NOBODY = "#0a0109"
WARNING = "#0a010a"
GOOD = "#0a010b"

VARIABLES = {
    INK: "ink",
    QUIET: "quiet",
    GRID: "grid",
    GROUND: "card",
    POSITIVE: "positive",
    POSITIVE_SOFT: "positive-soft",
    NEGATIVE: "negative",
    NEGATIVE_SOFT: "negative-soft",
    NOBODY: "nobody",
    WARNING: "warning",
    GOOD: "good",
}
"""Which variable of the page each stand-in becomes."""

WIDTH = 5.0
"""Inches; 360 units of the SVG, about as many pixels as a phone has for it."""

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in somebody's class name is a dollar
    "axes.formatter.use_mathtext": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 11.0,
    "axes.labelsize": 11.0,
    "axes.edgecolor": GRID,
    "axes.labelcolor": QUIET,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "path.simplify": False,
}


class Styles:
    """The styles of all plots of a page, each once, as classes."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def name_of(self, style: str) -> str:
        """The class for CSS declarations."""
        return self._names.setdefault(style, f"p{len(self._names)}")

    def css(self) -> str:
        """One rule for each class."""
        return "\n".join(f".{name}{{{style}}}" for style, name in self._names.items())


def draw(
    key: str,
    paint: Callable[[Axes], None],
    styles: Styles,
    *,
    title: str,
    description: str,
    height: float = 2.9,
) -> str:
    """The SVG of what `paint` draws, `height` inches high, as markup for an HTML page.

    `key` makes its ids unique in the page. The title and the description are for readers who
    do not see it.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    stream = io.BytesIO()
    settings: Any = _SETTINGS | {"svg.hashsalt": key}
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # whatever somebody's own matplotlibrc says
        mpl.rcParams.update(settings)
        # The reader's fonts draw the text; that matplotlib's lack a letter does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        canvas: Any = FigureCanvasSVG(figure)
        paint(figure.add_subplot())
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        canvas.print_svg(stream, metadata=nothing)
    return _cleaned(stream.getvalue(), key, styles, title, description)


def short_name(text: str, letters: int = 22) -> str:
    """A name for a plot: printable, and no longer than there is room for."""
    plain = printable(text)
    return plain if len(plain) <= letters else f"{plain[: letters - 1]}…"


def _cleaned(svg: bytes, key: str, styles: Styles, title: str, description: str) -> str:
    root = ET.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style", f"{_SVG}title"):
                parent.remove(child)
    used = _references(root)
    for element in root.iter():
        _clean(element, used, key, styles)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{key}-title {key}-description")
    root.set("class", "plot")
    for index, (tag, name, text) in enumerate(
        (("title", "title", title), ("desc", "description", description))
    ):
        element = ET.Element(tag, id=f"{key}-{name}")
        element.text = printable(text)
        root.insert(index, element)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
    return ET.tostring(root, encoding="unicode", short_empty_elements=False)


def _references(root: ET.Element) -> set[str]:
    """Ids that something in the picture points at."""
    used = set()
    for element in root.iter():
        used |= set(re.findall(r"url\(#([^)]+)\)", " ".join(element.attrib.values())))
        used.add(element.get(_LINK, "").removeprefix("#"))
    return used


def _clean(element: ET.Element, used: set[str], key: str, styles: Styles) -> None:
    name = element.attrib.pop("id", None)
    if name in used:
        element.set("id", f"{key}-{name}")
    target = element.attrib.pop(_LINK, None)
    if target is not None:
        element.set("href", f"#{key}-{target.removeprefix('#')}")
    if "clip-path" in element.attrib:
        element.set("clip-path", element.attrib["clip-path"].replace("url(#", f"url(#{key}-"))
    style = element.attrib.pop("style", "")
    declarations = [part.strip() for part in style.split(";") if part.strip()]
    # The reader's own font family is used; of matplotlib's fonts only the size remains.
    fonts = [part for part in declarations if part.startswith("font:")]
    sizes = [f"font-size: {size}" for font in fonts for size in re.findall(r"[\d.]+px", font)]
    plain = [part for part in declarations if not part.startswith(("font-family", "font:"))]
    if plain or sizes:
        element.set("class", styles.name_of(_coloured("; ".join([*plain, *sizes]))))
    for attribute in ("fill", "stroke"):
        colour = element.attrib.pop(attribute, None)
        if colour is not None:
            element.set("class", styles.name_of(_coloured(f"{attribute}: {colour}")))


def _coloured(style: str) -> str:
    for stand_in, variable in VARIABLES.items():
        style = style.replace(stand_in, f"var(--{variable})")
    return style
