"""Images to look at as tasks of Label Studio, and the interface to label them with.

The format is Label Studio's own JSON: a list of tasks, each with its `data` and, where
curator leans to a class, one pre-annotation. Pictures are referred to the way Label
Studio serves local files, `/data/local-files/?d=PATH`, from its document root.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_from_bytes
from xml.sax.saxutils import quoteattr

from curator.base.text import path_text

LABEL, REASONS, NOTE, IMAGE = "label", "reasons", "note", "image"
"""The names of the controls in the labelling interface."""

UNSURE = "unsure"


def task(
    path: bytes,
    sha256: bytes,
    *,
    served_path: bytes,
    suggestion: str = "",
    probability: float | None = None,
) -> dict[str, Any]:
    """One image as a task; `served_path` is relative to Label Studio's document root."""
    link = f"/data/local-files/?d={quote_from_bytes(served_path, safe='/')}"
    made: dict[str, Any] = {
        "data": {IMAGE: link, "path": path_text(path), "sha256": sha256.hex()},
    }
    if suggestion:
        choice = {
            "from_name": LABEL,
            "to_name": IMAGE,
            "type": "choices",
            "value": {"choices": [suggestion]},
        }
        made["predictions"] = [{"model_version": "curator", "result": [choice]}]
        if probability is not None:
            made["predictions"][0]["score"] = max(probability, 1 - probability)
    return made


def tasks_json(tasks: Sequence[dict[str, Any]]) -> str:
    """The tasks as a file's text."""
    return json.dumps(tasks, indent=1, ensure_ascii=True) + "\n"


def interface(positive: str, negative: str, reasons: Sequence[str]) -> str:
    """The labelling interface: paste it into the project's settings in Label Studio."""
    choices = ((positive, "a"), (negative, "x"), (UNSURE, "n"))
    lines = [
        "<View>",
        f'  <Image name="{IMAGE}" value="${IMAGE}" zoom="true"/>',
        f'  <Choices name="{LABEL}" toName="{IMAGE}" choice="single" required="true">',
        *(f'    <Choice value={quoteattr(name)} hotkey="{key}"/>' for name, key in choices),
        "  </Choices>",
    ]
    if reasons:
        lines += [
            f'  <Choices name="{REASONS}" toName="{IMAGE}" choice="multiple">',
            *(f"    <Choice value={quoteattr(reason)}/>" for reason in reasons),
            "  </Choices>",
        ]
    lines += [f'  <TextArea name="{NOTE}" toName="{IMAGE}" maxSubmissions="1"/>', "</View>"]
    return "\n".join(lines) + "\n"
