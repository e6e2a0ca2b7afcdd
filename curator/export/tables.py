"""Tables for Python: what the catalogue holds, as Arrow, pandas or polars, with pictures.

Columns have the names of the manifest: paths are text, hashes are 64 hexadecimal digits.
"""

from __future__ import annotations

import html
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curator.base.text import count
from curator.catalogue.files import preview_places
from curator.catalogue.images import find_by_sha256
from curator.errors import CuratorError
from curator.export.catalogue_rows import ExportRows
from curator.export.filters import ExportRequest, Filters, select
from curator.export.rows import COLUMNS, NUMBERS, ExportCounts
from curator.storage.previews import PreviewStore
from curator.workspace import Workspace

SHOWN = 24
"""Rows of a table that a notebook shows."""


class CatalogueTable:
    """Rows as an Arrow table; a notebook shows the first ones with their pictures.

    Iterating gives a dictionary for each row. pandas and polars also read it through
    `__arrow_c_stream__`: `polars.DataFrame(table)`.
    """

    def __init__(self, workspace: Workspace, content: Any) -> None:
        self._workspace = workspace
        self._content = content

    def __len__(self) -> int:
        """Number of rows."""
        return int(self._content.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._content.to_pylist())

    def __getitem__(self, row: int) -> dict[str, Any]:
        size = len(self)
        if not -size <= row < size:
            raise IndexError(f"row {row} of a table of {size} rows")
        rows: list[dict[str, Any]] = self._content.slice(row % size, 1).to_pylist()
        return rows[0]

    def __repr__(self) -> str:
        return f"<table of {count(len(self), 'row')}: {', '.join(self.columns)}>"

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._content.column_names)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The rows for any library that takes Arrow streams."""
        return self._content.__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> Any:
        """A `pyarrow.Table`."""
        return self._content

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame`; pandas must be installed."""
        return self._content.to_pandas()

    def to_polars(self) -> Any:
        """A `polars.DataFrame`; polars must be installed."""
        import polars

        return polars.from_arrow(self._content)

    def _repr_html_(self) -> str:
        """The first rows with their pictures, for a notebook."""
        rows = self._content.slice(0, SHOWN).to_pylist()
        pictures = self._pictures([row["sha256"] for row in rows])
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ["", *self.columns])
        body = "".join(
            f"<tr><td>{_image(pictures.get(row['sha256']))}</td>"
            + "".join(f"<td>{_cell(value)}</td>" for value in _shortened(row).values())
            + "</tr>"
            for row in rows
        )
        more = f"<p>{count(len(self), 'row')}, {len(rows)} shown</p>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"

    def _pictures(self, digests: Sequence[str]) -> Mapping[str, bytes]:
        """The stored preview of each image by its hash; none once the workspace is closed."""
        catalogue = self._workspace.catalogue
        try:
            image_ids = find_by_sha256(catalogue, {bytes.fromhex(each) for each in digests})
            positions = preview_places(catalogue, list(image_ids.values()))
        except CuratorError:
            return {}
        with PreviewStore(self._workspace.folder("previews")) as store:
            previews = {
                digest.hex(): store.read(positions[image_id])
                for digest, image_id in image_ids.items()
                if image_id in positions
            }
        return {digest: content for digest, content in previews.items() if content is not None}


def labels_table(workspace: Workspace) -> CatalogueTable:
    """The rows of a manifest of all labels, whatever the promotion policy."""
    return _manifest_table(workspace, include_unlabelled=False)


def scores_table(workspace: Workspace) -> CatalogueTable:
    """Every image that has a score: path, sha256, probability, and its label if it has one."""
    import pyarrow.compute

    content = _manifest_table(workspace, include_unlabelled=True).to_arrow()
    content = content.filter(pyarrow.compute.field("probability").is_valid())
    return CatalogueTable(
        workspace, content.select(["path", "sha256", "probability", "label", "origin", "split"])
    )


def table_of_rows(
    workspace: Workspace, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> CatalogueTable:
    """A table of dictionaries with these keys, `sha256` among them."""
    import pyarrow

    content = pyarrow.Table.from_pylist([dict(row) for row in rows], schema=_schema(columns))
    return CatalogueTable(workspace, content)


def _schema(columns: Sequence[str]) -> Any:
    import pyarrow

    types = {float: pyarrow.float64(), int: pyarrow.int64(), str: pyarrow.string()}
    return pyarrow.schema([(name, types[NUMBERS.get(name, str)]) for name in columns])


def _manifest_table(workspace: Workspace, *, include_unlabelled: bool) -> CatalogueTable:
    import pyarrow

    schema = _schema(COLUMNS)
    # No file is written: the request only carries the filters.
    filters = Filters(provisional=True, include_unlabelled=include_unlabelled)
    rows = ExportRows(
        workspace, select(workspace, ExportRequest(destination=Path("none.csv"), filters=filters))
    )
    with tempfile.TemporaryDirectory() as scratch:
        batches = [
            pyarrow.table(dict(zip(COLUMNS, batch, strict=True)), schema=schema)
            for batch in rows.columns(lambda _: None, Path(scratch), ExportCounts())
        ]
    content = pyarrow.concat_tables(batches) if batches else schema.empty_table()
    return CatalogueTable(workspace, content)


def _image(preview: bytes | None) -> str:
    if preview is None:
        return ""
    content = b64encode(preview).decode()
    return f'<img style="max-height:96px" src="data:image/jpeg;base64,{content}">'


def _shortened(row: Mapping[str, object]) -> dict[str, object]:
    """The row with 12 digits of its hash: all 64 push the scores out of a notebook's width."""
    return {**row, "sha256": f"{str(row['sha256'])[:12]}…"}


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else html.escape(str(value))
