"""The features that a workspace has, ready to be read.

Which set is meant follows from the settings: the model, its weights, size and placement
name one encoder, and the features of other encoders stay where they are, unmixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.catalogue import features as catalogued
from curator.catalogue.features import FeatureSetRecord
from curator.classifiers.encoders.encoder import EncoderIdentity
from curator.encoding.encoder_choice import find_encoded
from curator.storage.features import FeatureFile, FeatureReader
from curator.workspace import Workspace


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """A set of features as the catalogue knows it, mapped for reading."""

    record: FeatureSetRecord
    reader: FeatureReader

    @property
    def feature_set_id(self) -> int:
        """The catalogue's number for it."""
        return self.record.feature_set_id

    @property
    def fingerprint(self) -> str:
        """What the features depend on, as a digest."""
        return self.record.fingerprint

    @property
    def name(self) -> str:
        """The encoder's name, or `features:NAME`."""
        return self.record.name

    @property
    def dimension(self) -> int:
        """Numbers in a feature."""
        return self.record.dimension

    @property
    def rows(self) -> int:
        """Rows on disk."""
        return self.reader.rows

    @property
    def identity(self) -> EncoderIdentity | None:
        """The encoder behind it; None for features that the user brought."""
        facts = self.record.details.get("identity")
        return None if facts is None else EncoderIdentity.from_facts(facts)

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """A copy of these rows in the order given, (len(rows), dimension)."""
        return self.reader.gather(rows)


def current_features(workspace: Workspace) -> FeatureSet | None:
    """What the current settings' encoder has computed so far, without computing anything."""
    record = find_encoded(workspace)
    return None if record is None else open_features(workspace, record)


def open_features(workspace: Workspace, record: FeatureSetRecord) -> FeatureSet:
    """Map the features of a set. Raises StorageError if their file is lost."""
    rows = catalogued.end_row(workspace.catalogue, record.feature_set_id)
    return FeatureSet(record, FeatureReader(feature_file(workspace, record), rows))


def feature_file(workspace: Workspace, record: FeatureSetRecord) -> FeatureFile:
    """Where the rows of a set lie."""
    return FeatureFile(
        folder=workspace.folder("features"),
        fingerprint=record.fingerprint,
        dimension=record.dimension,
    )
