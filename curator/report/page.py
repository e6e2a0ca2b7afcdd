"""The report as one HTML page: it asks nothing of anybody, and runs nothing.

The page carries its own plots, pictures and styles. Its content policy allows no script, no
request, and no style but the page's own, named by its digest; everything that a person or a
file system named is escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from curator.base.text import percent, printable
from curator.charts.drawing import Styles
from curator.report.data import ReportData
from curator.report.figures import Figure
from curator.report.figures_rounds import people_figure, pool_figure, rounds_figure
from curator.report.figures_scores import (
    bands_figure,
    reliability_figure,
    scores_figure,
    selection_figure,
)
from curator.report.figures_work import quarantine_figure, sources_figure, work_figure

FIGURES: tuple[Callable[[ReportData, Styles], Figure], ...] = (
    pool_figure,
    people_figure,
    rounds_figure,
    scores_figure,
    bands_figure,
    reliability_figure,
    selection_figure,
    work_figure,
    sources_figure,
    quarantine_figure,
)

MOST_ROWS = 500
"""Rows of a table behind a plot; a page must stay small enough to be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """A number that says most in little room."""

    value: str
    name: str
    remark: str = ""


def render(story: ReportData) -> str:
    """The whole page."""
    styles = Styles()
    figures = {one.key: one for one in (make(story, styles) for make in FIGURES)}
    css = (files("curator.report") / "page.css").read_text(encoding="utf-8") + styles.css() + "\n"
    environment = _environment()
    return str(
        environment.get_template("page.html").render(
            story=story,
            figures=figures,
            headlines=tuple(_headlines(story)),
            css=css,
            policy=_policy(css),
            most_rows=MOST_ROWS,
        )
    )


def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("curator.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = _data_address
    environment.filters["safe_text"] = printable
    environment.filters["prose"] = _prose
    return environment


def _policy(css: str) -> str:
    """The page's content policy, with the digests of what is its own."""
    rules = ["default-src 'none'", "img-src data:", f"style-src {_digest(css)}"]
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])


def _digest(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _data_address(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _prose(sentence: str) -> Any:
    """A sentence, escaped, in which what stands between backticks is code."""
    from markupsafe import Markup

    parts = printable(sentence).split("`")
    if len(parts) % 2 == 0:  # somebody's name has one of its own
        return "`".join(parts)
    coded = (Markup("<code>{}</code>").format(part) for part in parts[1::2])
    plain = iter(parts[::2])
    first = Markup("{}").format(next(plain))
    return first + Markup("").join(
        code + Markup("{}").format(text) for code, text in zip(coded, plain, strict=True)
    )


def _headlines(story: ReportData) -> Iterator[Headline]:
    without = story.usable - story.labelled
    yield Headline(
        value=percent(story.coverage),
        name="coverage",
        remark=f"{story.promoted:,} of {without:,} images without a human label",
    )
    minutes = f"about {story.minutes:,.0f} minutes of looking" if story.minutes >= 1 else ""
    yield Headline(value=f"{story.decisions:,}", name="decisions by people", remark=minutes)
    held = next((one for one in story.certificates if one.valid and one.about_promoted), None)
    if held is not None:
        yield Headline(
            value=f"≤ {percent(held.bound, 2)}",
            name="certified error",
            remark=f"of {held.certified:,} promoted labels",
        )
    else:
        estimated = story.selection.error if story.selection and story.promoted else None
        yield Headline(
            value="-" if estimated is None else f"≈ {percent(estimated, 2)}",
            name="estimated error, no certificate",
            remark="" if estimated is None else "claimed by the scores, not measured",
        )
    yield Headline(
        value=f"{story.unlabelled:,}",
        name="unlabelled",
        remark=f"of {story.usable:,} usable images",
    )
