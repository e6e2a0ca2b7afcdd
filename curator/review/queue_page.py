"""A queue as a page of pictures, to look at while its CSV file is filled in.

One HTML file with its pictures in it. It asks nothing of anybody and runs nothing; names are
escaped. A blind queue has pictures and row numbers only: a name or a score may tell the class.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from curator.base.files import check_destination, replacing
from curator.base.text import count, printable
from curator.review.cards import load_image_cards
from curator.review.pictures import Pictures
from curator.review.queues import QueueRow
from curator.workspace import Workspace

SIDE = 360
"""Longest side of a picture, in pixels."""

_HEAD = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.4 system-ui, sans-serif; }}
main {{ display: grid; gap: 0.8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(14rem, 45vw), 1fr)); }}
figure {{ margin: 0; }}
img {{ width: 100%; aspect-ratio: 1; object-fit: contain; background: #101010; }}
figcaption {{ overflow-wrap: anywhere; }}
</style></head><body>
<h1>{title}</h1>
<p>Row numbers are those of {table} in a spreadsheet, where the column names are row 1.</p>
<main>
"""


def write_page(
    workspace: Workspace, rows: Sequence[QueueRow], table: Path, *, force: bool = False
) -> Path:
    """Write the pictures of `rows` beside the CSV file `table`; returns the page's path.

    Raises StorageError if the page exists and `force` is not set, or cannot be written.
    """
    destination = table.with_suffix(".html")
    check_destination(destination, force=force)
    title = f"{count(len(rows), 'image')} to label"
    head = _HEAD.format(title=title, table=escape(printable(table.name)))
    with replacing(destination) as stream:
        stream.write(head.encode())
        for figure in _figures(workspace, rows):
            stream.write(figure.encode())
        stream.write(b"</main></body></html>\n")
    return destination


def _figures(workspace: Workspace, rows: Sequence[QueueRow]) -> Iterator[str]:
    pictures = Pictures(workspace)
    try:
        for number, row in enumerate(rows, start=2):
            card = load_image_cards(workspace.catalogue, [row.image_id], why={}).get(row.image_id)
            shot = None if card is None else pictures.shot(card, SIDE, SIDE)
            if shot is not None and shot.pixels is not None:
                stream = io.BytesIO()
                shot.pixels.convert("RGB").save(stream, "JPEG", quality=85)
                data = base64.b64encode(stream.getvalue()).decode()
                picture = f'<img alt="row {number}" src="data:image/jpeg;base64,{data}">'
            else:
                problem = "" if shot is None else f": {escape(printable(shot.problem))}"
                picture = f"<p>This picture cannot be shown{problem}.</p>"
            yield f"<figure>{picture}<figcaption>{_caption(number, row)}</figcaption></figure>\n"
    finally:
        pictures.close()


def _caption(number: int, row: QueueRow) -> str:
    caption = f"<b>row {number}</b>"
    if row.blind:
        return caption
    caption += f" {escape(printable(row.path.rpartition(b'/')[2]))}"
    if row.probability is not None:
        caption += f"<br>P {row.probability:.3f}"
    if row.suggestion:
        caption += f" → {escape(printable(row.suggestion))}"
    return caption
