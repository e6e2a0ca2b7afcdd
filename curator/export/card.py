"""The dataset card: what a folder holds, whose images they are, and what is promised.

The head is YAML as Hugging Face reads it, written as JSON, which YAML includes; the text
below is Markdown in which nobody's file name or attribution can be markup.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curator.base.vocabulary import LIKELIER, Origin
from curator.export.layouts import UNLABELLED, WHOLE

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*\Z")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")


OF_LABELS = frozenset({"label", "origin", "promoted_probability", "round"})
"""Columns that images without a label do not have."""


def card(
    about: Mapping[str, Any], name: str, features: Mapping[str, Sequence[Mapping[str, Any]]] | None
) -> str:
    """The whole README.md; `features` are those of `features_of` by configuration.

    They are for Hugging Face to load, None elsewhere.
    """
    head = {**_licence(about["sources"]), "pretty_name": name}
    images = about["manifest"]["images"]
    size = next((category for limit, category in _SIZES if images < limit), "n>1M")
    head |= {"task_categories": ["image-classification"], "size_categories": [size]}
    head |= {"tags": ["curator"]}
    if features is not None:
        head |= {"configs": list(_configurations(about, features))}
    lines = ["---", *(f"{key}: {json.dumps(v, ensure_ascii=False)}" for key, v in head.items())]
    return "\n".join([*lines, "---", "", *_text(about, name), ""])


def class_names(about: Mapping[str, Any]) -> list[str]:
    """The names of the classes by number: negative is 0, positive is 1."""
    return [about["classes"]["negative"], about["classes"]["positive"]]


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    return _MARKUP.sub(r"\\\1", visible)


def _licence(sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    licences = (source["licence"] for source in sources if source["rows"])
    stated = sorted({licence for licence in licences if licence})
    if not stated:
        return {}
    if all(_IDENTIFIER.match(licence) for licence in stated):
        names = [licence.lower() for licence in stated]
        return {"license": names[0] if len(names) == 1 else names}
    return {"license": "other", "license_name": "; ".join(stated)}


def _configurations(
    about: Mapping[str, Any], features: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """The parts with labels, and beside them what has none: a table of its own."""
    parts = [WHOLE]
    if about["division"]:
        parts = [part for part, labels in about["splits"].items() if any(labels)]
    if parts:
        yield _configuration("default", parts) | {"features": features["default"]}
    if about["division"] and about["unlabelled"]:
        yield _configuration(UNLABELLED, [UNLABELLED]) | {"features": features[UNLABELLED]}


def _configuration(name: str, parts: Sequence[str]) -> dict[str, Any]:
    files = [{"split": part, "path": f"{part}/**"} for part in parts]
    return {"config_name": name, "data_files": files}


def features_of(
    about: Mapping[str, Any], probabilities: Sequence[str], *, labelled: bool = True
) -> list[dict[str, Any]]:
    """The columns and their types; `probabilities` and labels only if they are there."""
    classes = class_names(about)
    labels = [*classes, *(label for label in about["labels"] if label not in classes)]
    names = {str(number): name for number, name in enumerate(labels)}
    kinds: dict[str, Any] = {"image": "image", "label": {"class_label": {"names": names}}}
    kinds |= dict.fromkeys(("sha256", "origin"), "string")
    kinds |= dict.fromkeys(probabilities, "float64")
    kinds |= {"round": "int64", "group": "string", "split": "string"}
    kinds |= {"width": "int64", "height": "int64", "source": "string"}
    kinds |= {"converted_from": "string"} if "converted" in about else {}
    omitted = frozenset() if labelled else OF_LABELS
    return [{"name": name, "dtype": kind} for name, kind in kinds.items() if name not in omitted]


def _text(about: Mapping[str, Any], name: str) -> Iterator[str]:
    yield f"# {plain(name)}"
    yield ""
    classes = " and ".join(f"*{plain(label)}*" for label in class_names(about))
    yield (
        f"{about['manifest']['images']:,} images, sorted into {classes}"
        f" with curator {about['versions']['curator']}. `manifest.csv` has a row for each with"
        " its SHA-256, `curator.json` says how it came about."
    )
    if about.get("converted"):
        kinds = ", ".join(f"{number:,} of {name}" for name, number in about["converted"].items())
        yield f"Images converted for this export: {plain(kinds)}. Their SHA-256 is the original's."
    yield from ["", "## Labels", "", "| label | origin | images |", "|---|---|---|"]
    for label, origins in about["labels"].items():
        for origin, count in origins.items():
            yield f"| {plain(label)} | {origin} | {count:,} |"
    if about["unlabelled"]:
        yield f"| (none) | | {about['unlabelled']:,} |"
    yield from ["", _promise(about), ""]
    for warning in about["warnings"]:
        yield from [f"**Warning.** {plain(warning)}", ""]
    yield from ["## Sources", ""]
    yield "| source | images | licence | attribution |"
    yield "|---|---|---|---|"
    for source in about["sources"]:
        if source["rows"]:
            licence = plain(source["licence"] or "not stated")
            attribution = plain(source["attribution"] or "not stated")
            source_name = plain(source["name"])
            yield f"| {source_name} | {source['rows']:,} | {licence} | {attribution} |"


def _promise(about: Mapping[str, Any]) -> str:
    """What is promised of the labels that a classifier gave, or that nothing is."""
    promised = sum(
        origins.get(origin, 0)
        for origin in (Origin.PROMOTED, LIKELIER)
        for origins in about["labels"].values()
    )
    if not promised:
        return "All labels were given by people."
    certificate = about["certificate"]
    if certificate is None or about["certificate_note"]:
        why = f": {plain(about['certificate_note'])}" if about["certificate_note"] else ""
        return (
            "Labels of origin *promoted* and *likelier* were given by a classifier. No bound on"
            f" their error is promised for this selection{why}."
        )
    return (
        "Labels of origin *promoted* and *likelier* were given by a classifier. A certificate"
        " bounds the share of wrong ones among them:"
        f" `{json.dumps(certificate, ensure_ascii=False)}`"
    )
