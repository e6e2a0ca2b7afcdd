"""One training on people's labels, validated on other labels; `tune` and `curve` repeat it.

Training and validation use labels that may be trained on, divided by group; only `error_on`
reads labels of the test split. Pseudo-labels and promotions are not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from curator.base.arrays import CLASS_CODES, POSITIVE_CODE, BoolArray, IntArray
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import Origin, Split, code_of
from curator.catalogue import features as catalogued
from curator.catalogue import pool
from curator.catalogue.engine import Catalogue
from curator.classifiers.devices import choose_placement
from curator.classifiers.networks.training_set import (
    LabelledRows,
    nested_subset,
    validation_members,
)
from curator.encoding.pixel_packs import network_request, pixel_input, ready_pixels
from curator.encoding.stored_rows import StoredRows
from curator.errors import DataError
from curator.settings.file import check_settings
from curator.settings.sections import Settings
from curator.statistics.metrics import ErrorEstimate, error_estimate
from curator.workspace import Workspace

if TYPE_CHECKING:
    from curator.classifiers.networks.training_state import TrainedNetwork

Value = bool | int | float | str
"""The value of a setting in a search."""

FEWEST_LABELS = 10
"""Labels of either class below which nothing can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSample:
    """Labelled images: ids, classes, and the unit that each belongs to, all (n,)."""

    image_ids: IntArray
    positive: BoolArray
    units: IntArray

    def __len__(self) -> int:
        """Number of images."""
        return len(self.image_ids)

    def where(self, selected: BoolArray) -> TrialSample:
        """The images that the mask `selected` (n,) marks."""
        return TrialSample(
            image_ids=self.image_ids[selected],
            positive=self.positive[selected],
            units=self.units[selected],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLabels:
    """People's labels: those for training and validation, and those of the test split."""

    train: TrialSample
    test: TrialSample

    def divided(self, share: float, seed: int) -> tuple[TrialSample, TrialSample]:
        """Training and validation labels, divided by group."""
        validates = validation_members(self.train.units, self.train.positive, share, seed)
        return self.train.where(~validates), self.train.where(validates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one training came to on its validation labels.

    `train_error` is None where it is not measured, `coverage` where no pool was scored.
    """

    error: float
    loss: float
    train_error: float | None
    coverage: float | None
    seconds: float


def study_labels(workspace: Workspace, *, chooses: bool) -> StudyLabels:
    """People's labels. Raises DataError unless both classes have enough to compare.

    Where something is chosen by them, labels of random samples are left out: they measure what
    was chosen. Rounds train on them, so a curve does, too.
    """
    human = pool.human_labels(workspace.catalogue, None)
    usable = np.isin(human.standing, CLASS_CODES)
    # An audit's answers measure the error; they train nothing.
    origins, splits = [Origin.SEED, Origin.REVIEW], [Split.TRAIN]
    if not chooses:
        origins.append(Origin.CALIBRATION)
        splits.append(Split.CALIBRATION)
    everything = TrialSample(
        image_ids=human.image_ids,
        positive=human.standing == POSITIVE_CODE,
        units=human.unit_keys,
    )
    trains = usable & np.isin(human.split, [code_of(split) for split in splits])
    trains &= np.isin(human.first_origin, [code_of(origin) for origin in origins])
    tests = usable & (human.split == code_of(Split.TEST))
    labels = StudyLabels(train=everything.where(trains), test=everything.where(tests))
    names = workspace.settings.classes
    for name, side in ((names.positive, True), (names.negative, False)):
        count = int((labels.train.positive == side).sum())
        if count < FEWEST_LABELS:
            raise DataError(
                f"At least {FEWEST_LABELS} labels of each class are needed, from"
                f" {'seeds and reviews' if chooses else 'seeds, reviews and random samples'};"
                f" {name} has {count}."
                + (" Random samples and audits measure the result." if chooses else ""),
                f"Label more: `curator add FOLDER --label {name}` or `curator review diverse`.",
            )
    return labels


def with_settings(workspace: Workspace, changes: Mapping[str, Value]) -> Workspace:
    """The workspace with changed settings; nothing is written.

    Raises SettingsError if a key or a value is not allowed.
    """
    content: dict[str, Any] = workspace.settings.model_dump(mode="python")
    for key, value in changes.items():
        section, _, name = key.partition(".")
        content.setdefault(section, {})[name] = value
    settings = check_settings(content, "the search") if changes else workspace.settings
    return replace(workspace, settings=settings)


def subset(sample: TrialSample, share: float, seed: int) -> TrialSample:
    """About `share` of the units; a smaller share is a subset of a larger one of the same seed."""
    if share >= 1:
        return sample
    return sample.where(nested_subset(sample.units, sample.positive, share, seed))


def train_on(
    workspace: Workspace,
    train: TrialSample,
    validation: TrialSample | None,
    *,
    seed: int,
    progress: Progress = SILENT,
    **changes: Any,
) -> TrainedNetwork:
    """Train the network of the settings on `train`, with early stopping on `validation`.

    `changes` replace settings of the section `training`. Raises DataError unless
    `classifier.kind` is `finetune`, and what training raises.
    """
    from curator.classifiers.networks.classifier import announce_user_code
    from curator.classifiers.networks.network import build_network
    from curator.classifiers.networks.train import train_network
    from curator.classifiers.networks.training_set import training_set

    settings = workspace.settings
    needs_networks(settings)
    request = network_request(settings, workspace.root)
    pixels = pixel_input(workspace.catalogue, request)
    announce_user_code(request, workspace.root, progress)
    samples = [train] if validation is None else [train, validation]
    image_ids = np.concatenate([sample.image_ids for sample in samples])
    packed = ready_pixels(workspace, pixels, progress, only=image_ids)
    labels, *validates = (_labelled_rows(workspace.catalogue, packed, sample) for sample in samples)
    training = settings.training.model_copy(update=changes)
    return train_network(
        build_network(request, pixels, seed=seed),
        training_set(
            labels.rows,
            labels.positive,
            balanced=settings.classifier.class_weight == "balanced",
            pseudo_share=0.0,
            human_share=training.human_share,
        ),
        packed,
        training,
        validation=validates[0] if validates else None,
        device=choose_placement(device=settings.runtime.device, backend="torch").device,
        seed=seed,
    )


def error_on(
    workspace: Workspace, trained: TrainedNetwork, test: TrialSample, progress: Progress = SILENT
) -> ErrorEstimate:
    """The error on the test split, with its exact 95% interval."""
    from curator.classifiers.networks.batch_loading import margins_of

    request = network_request(workspace.settings, workspace.root)
    pixels = pixel_input(workspace.catalogue, request)
    packed = ready_pixels(workspace, pixels, progress, only=test.image_ids)
    labels = _labelled_rows(workspace.catalogue, packed, test)
    device = choose_placement(device=workspace.settings.runtime.device, backend="torch").device
    margins = margins_of(trained.network, packed, labels.rows, device)
    return error_estimate((margins > 0) != labels.positive)


def _labelled_rows(catalogue: Catalogue, packed: StoredRows, sample: TrialSample) -> LabelledRows:
    """The rows of the images that could be packed, and their classes."""
    rows = catalogued.rows_of(catalogue, packed.feature_set_id, sample.image_ids)
    return LabelledRows(rows=rows[rows >= 0], positive=sample.positive[rows >= 0])


def needs_networks(settings: Settings) -> None:
    """Raise DataError unless the settings train a network."""
    if settings.classifier.kind != "finetune":
        raise DataError(
            "classifier.kind is `frozen`: its heads have no epochs and no settings to search.",
            "Set classifier.kind to `finetune`, and classifier.model to a network.",
        )
