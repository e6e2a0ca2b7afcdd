"""A real workspace whose images have features of a known difficulty.

Every image is a tiny picture of its own, and its features are drawn around the centre of
its class, so that tests know the truth and need no encoder.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curator.api import WorkspaceApi, create_workspace, open_workspace
from curator.base.values import Decision, FileStamp, InspectedFile
from curator.base.vocabulary import Label, Method, Origin
from curator.catalogue.files import record_files
from curator.catalogue.labels import record_decisions
from curator.catalogue.pool import pool_chunks
from curator.catalogue.random_draws import open_draw, record_members
from curator.catalogue.sources import add_source
from curator.encoding.import_features import import_features
from curator.settings.file import write_settings
from curator.workspace import Workspace

DIMENSIONS = 24


class Pool:
    """A workspace of `size` images; `truth[i]` says whether image `i` is positive."""

    def __init__(
        self, folder: Path, *, size: int = 400, distance: float = 4.0, seed: int = 0,
        share: float = 0.5, settings: dict[str, str] | None = None, foreign: int = 0,
        style: float = 0.0, scenes: int = 0,
    ) -> None:  # fmt: skip
        """Draw the pool; its first `foreign` images are positive, lie in a source of their own
        and differ from all others by `style`. With `scenes`, the first third are frames of that
        many scenes, which hardly differ from each other.
        """
        generator = np.random.default_rng(seed)
        self.truth: NDArray[np.bool_] = generator.random(size) < share
        self.truth[:foreign] = True
        frames = size // 3 if scenes else 0
        scene = np.arange(frames) % max(scenes, 1)
        self.truth[:frames] = self.truth[scene]
        centre = np.where(self.truth, distance / 2, -distance / 2)[:, None]
        features = generator.normal(0, 1, (size, DIMENSIONS))
        features[:, :1] += centre
        features[:foreign, 1] += style
        features[:frames] = features[scene] + generator.normal(0, 0.02, (frames, DIMENSIONS))
        names = [
            f"{'away' if index < foreign else 'pictures'}/{index:05d}.png" for index in range(size)
        ]
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
        self.api: WorkspaceApi = create_workspace(
            folder / "workspace", positive="good", negative="bad", recipe=None
        )
        for source in sorted({name.partition("/")[0] for name in names}):
            self._catalogue(folder / source)
        np.save(folder / "features.npy", features.astype(np.float32))
        with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path"])
            writer.writerows([name] for name in names)
        import_features(
            self.opened, name="drawn", array=folder / "features.npy", index=folder / "index.csv"
        )
        # Two dozen features carry less than a thousand, so the penalty has to be weaker.
        usual = {"classifier.model": "features:drawn", "classifier.regularization": "1.0"}
        self.change(usual | (settings or {}))

    def _catalogue(self, pictures: Path) -> None:
        """Record the pictures as `add` would, but for previews and near-duplicates."""
        catalogue = self.opened.catalogue
        source = add_source(catalogue, name=pictures.name, root=os.fsencode(pictures))
        found = []
        for path in sorted(pictures.iterdir()):
            content, stat = path.read_bytes(), path.stat()
            stamp = FileStamp(
                path=os.fsencode(path.name), size=len(content), mtime_ns=stat.st_mtime_ns
            )
            digest = hashlib.sha256(content).digest()
            found.append(
                InspectedFile(
                    stamp=stamp, sha256=digest, width=8, height=8, format="PNG", mode="RGB"
                )
            )
        record_files(catalogue, source.source_id, found)

    @property
    def opened(self) -> Workspace:
        """The workspace as workflows see it."""
        return self.api._workspace

    def change(self, settings: dict[str, str]) -> None:
        """Change settings as a user would, and open the workspace again."""
        root = self.api.root
        write_settings(root, settings)
        self.api.close()
        self.api = open_workspace(root)

    def image_ids(self) -> NDArray[np.int64]:
        """The ids in the order of the truth: files are catalogued in the order of names."""
        chunks = pool_chunks(self.opened.catalogue, None)
        return np.concatenate([chunk.image_ids for chunk in chunks])

    def label(
        self, indices: Iterable[int], *, origin: Origin = Origin.SEED, lie: bool = False,
        method: Method = Method.SINGLE,
    ) -> None:  # fmt: skip
        """Give these images their true label, or with `lie` the other one."""
        ids = self.image_ids()
        decisions = [
            Decision(
                image_id=int(ids[index]),
                label=Label.POSITIVE if self.truth[index] != lie else Label.NEGATIVE,
                origin=origin,
                method=method,
            )
            for index in indices
        ]
        catalogue = self.opened.catalogue
        if origin is Origin.CALIBRATION:
            with catalogue.write() as connection:
                draw_id, _ = open_draw(connection, 0)
                ids_drawn = [decision.image_id for decision in decisions]
                record_members(connection, draw_id, enumerate(ids_drawn))
        record_decisions(catalogue, decisions, actor="tester", session="test")

    def standing(self) -> NDArray[np.int8]:
        """The standing code of every image, in the order of the truth."""
        chunks = pool_chunks(self.opened.catalogue, None)
        return np.concatenate([chunk.standing for chunk in chunks])

    def promoted(self) -> NDArray[np.bool_]:
        """Which images stand promoted, in the order of the truth."""
        from curator.base.vocabulary import code_of

        chunks = pool_chunks(self.opened.catalogue, None)
        return np.concatenate([chunk.origin == code_of(Origin.PROMOTED) for chunk in chunks])
