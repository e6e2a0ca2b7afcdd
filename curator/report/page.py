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

from curator.audits.certificate import certificate_sentence
from curator.base.text import percent, printable
from curator.charts.svg import Styles
from curator.report import sentences
from curator.report.data import ReportData, warnings_of
from curator.report.figures import (
    Figure,
    people_figure,
    pool_figure,
    quality_figure,
    quarantine_figure,
    rounds_figure,
    sources_figure,
    work_figure,
)
from curator.report.score_figures import (
    bands_figure,
    reliability_figure,
    scores_figure,
    selection_figure,
)

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
    quality_figure,
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


def render(report: ReportData) -> str:
    """The whole page."""
    styles = Styles()
    figures = {figure.key: figure for figure in (make(report, styles) for make in FIGURES)}
    # The styles of the figures are known once they are drawn.
    css = (files("curator.report") / "page.css").read_text(encoding="utf-8") + styles.css() + "\n"
    return str(
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            sentences=sentences,
            certificate_sentence=certificate_sentence,
            warnings=warnings_of(report.status.current_round),
            figures=figures,
            headlines=tuple(_headlines(report)),
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


def _headlines(report: ReportData) -> Iterator[Headline]:
    counts, minutes = report.status.counts, report.status.minutes
    yield Headline(
        value=percent(counts.coverage),
        name="coverage",
        remark=f"{counts.promoted:,} of {counts.without_human:,} images without a human label",
    )
    yield Headline(
        value=f"{report.status.decisions:,}",
        name="decisions by people",
        remark=f"about {minutes:,.0f} minutes of looking" if minutes >= 1 else "",
    )
    certificate, curve = report.valid_certificate, report.error_curve
    if certificate is not None:
        yield Headline(
            value=f"≤ {percent(certificate.bound, 2)}",
            name="certified error",
            remark=f"of {certificate.certified:,} promoted labels",
        )
    else:
        estimated = curve.error if curve and counts.promoted else None
        yield Headline(
            value="-" if estimated is None else f"≈ {percent(estimated, 2)}",
            name="estimated error, no certificate",
            remark="" if estimated is None else "predicted by the scores, not measured",
        )
    yield Headline(
        value=f"{counts.unlabelled:,}",
        name="unlabelled",
        remark=f"of {counts.usable:,} usable images",
    )
