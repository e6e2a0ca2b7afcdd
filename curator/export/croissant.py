"""Croissant: JSON-LD that tells machine-learning tools what a dataset holds.

The manifest is pinned by its SHA-256, and has that of every image in a column, so every
file of the dataset is tied to this description.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from curator.export.building import MANIFEST
from curator.export.rows import COLUMNS, NUMBERS

_TYPES = {float: "sc:Float", int: "sc:Integer"}
_SPEC = "http://mlcommons.org/croissant/1.0"

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


_ENCODINGS = {
    ".avif": "image/avif", ".bmp": "image/bmp", ".gif": "image/gif", ".heic": "image/heic",
    ".jp2": "image/jp2", ".jpg": "image/jpeg", ".png": "image/png", ".tif": "image/tiff",
    ".webp": "image/webp",
}  # fmt: skip


def croissant(
    about: Mapping[str, Any], name: str, *, manifest_bytes: int, suffixes: Sequence[str]
) -> str:
    """The description of a folder whose manifest is described in `about`."""
    manifest = {
        "@type": "cr:FileObject",
        "@id": MANIFEST,
        "name": MANIFEST,
        "contentUrl": MANIFEST,
        "contentSize": f"{manifest_bytes} B",
        "encodingFormat": "text/csv",
        "sha256": about["manifest"]["sha256"],
    }
    images = [
        {
            "@type": "cr:FileSet",
            "@id": f"images{suffix}",
            "name": f"images{suffix}",
            "description": f"Images whose names end in {suffix}; their SHA-256 in {MANIFEST}.",
            "encodingFormat": _ENCODINGS.get(suffix, "application/octet-stream"),
            "includes": f"**/*{suffix}",
        }
        for suffix in suffixes
    ]
    records = {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "One record for each image, with its label and where that comes from.",
        "key": {"@id": "images/path"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"images/{column}",
                "name": column,
                "dataType": _TYPES.get(NUMBERS.get(column, str), "sc:Text"),
                "source": {"fileObject": {"@id": MANIFEST}, "extract": {"column": column}},
            }
            for column in COLUMNS
        ],
    }
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": _description(about),
        "conformsTo": _SPEC,
        **_terms(about["sources"]),
        "version": f"1.0.0+{about['manifest']['sha256'][:12]}",
        "distribution": [manifest, *images],
        "recordSet": [records],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _description(about: Mapping[str, Any]) -> str:
    counts = "; ".join(
        f"{label}: " + ", ".join(f"{count:,} {origin}" for origin, count in origins.items())
        for label, origins in about["labels"].items()
    )
    words = f"{about['manifest']['images']:,} images, labelled with curator ({counts})."
    if about["certificate"] is not None and not about["certificate_note"]:
        return f"{words} Certificate: {json.dumps(about['certificate'], ensure_ascii=False)}"
    return f"{words} No bound on the error of promoted labels is promised."


def _terms(sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    used = [source for source in sources if source["rows"]]
    licences = sorted({source["licence"] for source in used if source["licence"]})
    credits = [
        f"{source['name']}: {source['attribution']}" for source in used if source["attribution"]
    ]
    terms: dict[str, Any] = {}
    if licences:
        terms["license"] = licences[0] if len(licences) == 1 else licences
    if credits:
        terms["citeAs"] = "; ".join(credits)
        terms["creditText"] = "; ".join(credits)
    return terms
