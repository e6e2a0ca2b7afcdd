"""The stored features of a workspace, opened for reading.

The settings name the set: model, weights, size and placement are those of one encoder,
and features of other encoders are never mixed with its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from curator.base.arrays import Float16Array, IntArray
from curator.catalogue import features as catalogued
from curator.catalogue.features import FeatureSetRecord
from curator.classifiers.encoders.encoder import EncoderIdentity
from curator.encoding.encoder_choice import find_encoded
from curator.storage.features import FeatureFile, FeatureReader
from curator.workspace import Workspace


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """A set of features: its record in the catalogue, and its rows mapped into memory."""

    record: FeatureSetRecord
    reader: FeatureReader

    @property
    def feature_set_id(self) -> int:
        return self.record.feature_set_id

    @property
    def fingerprint(self) -> str:
        return self.record.fingerprint

    @property
    def name(self) -> str:
        """The encoder's name, or `features:NAME`."""
        return self.record.name

    @property
    def dimension(self) -> int:
        return self.record.dimension

    @property
    def rows(self) -> int:
        return self.reader.rows

    @property
    def identity(self) -> EncoderIdentity | None:
        """The encoder of the features; None for imported ones."""
        facts = self.record.details.get("identity")
        return None if facts is None else EncoderIdentity.from_facts(facts)

    def gather(self, rows: IntArray) -> Float16Array:
        """A copy of these rows in this order, (len(rows), dimension)."""
        return self.reader.gather(rows)


def current_features(workspace: Workspace) -> FeatureSet | None:
    """What the current settings' encoder has computed so far; None if nothing."""
    record = find_encoded(workspace)
    return None if record is None else open_features(workspace, record)


def open_features(workspace: Workspace, record: FeatureSetRecord) -> FeatureSet:
    """Map the features of a set. Raises StorageError if their file is lost."""
    rows = catalogued.end_row(workspace.catalogue, record.feature_set_id)
    return FeatureSet(record, FeatureReader(feature_file(workspace, record), rows))


def feature_file(workspace: Workspace, record: FeatureSetRecord) -> FeatureFile:
    """The file of a set's rows."""
    return FeatureFile(
        folder=workspace.folder("features"),
        fingerprint=record.fingerprint,
        dimension=record.dimension,
    )
