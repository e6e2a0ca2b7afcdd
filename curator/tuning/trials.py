"""One training on people's labels, judged on other labels: what `tune` and `curve` repeat.

Only labels that may be trained on are used for training and validation, by group; labels
of the test split are looked at by `error_on` alone. No pseudo-label and no promotion
has any part in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import CurrentLabel, Origin, Split, code_of
from curator.catalogue import features as catalogued
from curator.catalogue import pool
from curator.classifiers.devices import choose_placement
from curator.classifiers.networks.training_set import (
    LabelledRows,
    nested_subset,
    validation_members,
)
from curator.encoding.pixel_packs import network_request, pixel_input, ready_pixels
from curator.errors import DataError
from curator.settings.file import check_settings
from curator.settings.sections import Settings
from curator.statistics.metrics import ErrorEstimate, error_estimate
from curator.workspace import Workspace

if TYPE_CHECKING:
    from curator.classifiers.networks.training_state import EpochRecord, TrainedNetwork

Value = bool | int | float | str
"""The value of a setting in a search."""
Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]

FEWEST_LABELS = 10
"""Labels of either class below which nothing can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSample:
    """Labelled images: ids, classes, and the unit that each belongs to, all (n,)."""

    image_ids: Ids
    positive: Flags
    units: Ids

    def __len__(self) -> int:
        """How many there are."""
        return len(self.image_ids)

    def where(self, chosen: Flags) -> TrialSample:
        """The images that `chosen` (n,) marks."""
        return TrialSample(
            image_ids=self.image_ids[chosen],
            positive=self.positive[chosen],
            units=self.units[chosen],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLabels:
    """People's labels: those that train and validate, and those of the test split."""

    train: TrialSample
    test: TrialSample

    def divided(self, share: float, seed: int) -> tuple[TrialSample, TrialSample]:
        """The training labels as those that train and those that validate, by group."""
        watched = validation_members(self.train.units, self.train.positive, share, seed)
        return self.train.where(~watched), self.train.where(watched)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What a training came to; `seconds` are those of training and validation."""

    history: tuple[EpochRecord, ...]
    best_epoch: int
    seconds: float
    parameters: int
    images_per_second: float

    @property
    def best(self) -> EpochRecord:
        """The epoch whose weights were kept."""
        return self.history[self.best_epoch - 1]


def study_labels(workspace: Workspace) -> StudyLabels:
    """What people labelled. Raises DataError unless both classes have enough to compare."""
    human = pool.human_labels(workspace.catalogue, None)
    classes = [code_of(CurrentLabel.POSITIVE), code_of(CurrentLabel.NEGATIVE)]
    usable = np.isin(human.standing, classes)
    origins = [code_of(Origin.SEED), code_of(Origin.REVIEW)]
    everything = TrialSample(
        image_ids=human.image_ids,
        positive=human.standing == code_of(CurrentLabel.POSITIVE),
        units=human.unit_keys,
    )
    trains = usable & (human.split == code_of(Split.TRAIN)) & np.isin(human.origin, origins)
    tests = usable & (human.split == code_of(Split.TEST))
    labels = StudyLabels(train=everything.where(trains), test=everything.where(tests))
    names = workspace.settings.classes
    for name, side in ((names.positive, True), (names.negative, False)):
        count = int((labels.train.positive == side).sum())
        if count < FEWEST_LABELS:
            raise DataError(
                f"Only {count} images that may be trained on are labelled {name}; fewer than"
                f" {FEWEST_LABELS} cannot be compared.",
                f"Label more: `curator add FOLDER --label {name}` or `curator review diverse`.",
            )
    return labels


def with_settings(workspace: Workspace, changes: Mapping[str, Value]) -> Workspace:
    """The workspace as if its settings were changed; nothing is written.

    Raises SettingsError if a key or a value is not allowed.
    """
    content: dict[str, Any] = workspace.settings.model_dump(mode="python")
    for key, value in changes.items():
        section, _, name = key.partition(".")
        content.setdefault(section, {})[name] = value
    settings = check_settings(content, "the search") if changes else workspace.settings
    return replace(workspace, settings=settings)


def subset(sample: TrialSample, share: float, seed: int) -> TrialSample:
    """About `share` of the units; smaller shares lie within larger ones of the same seed."""
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
) -> tuple[TrialResult, TrainedNetwork]:
    """Train the network of the settings on `train`, judged on `validation`.

    `changes` replace fields of the recipe. Raises DataError unless networks are trained
    here, and what training raises.
    """
    from curator.classifiers.networks.classifier import announce_user_code
    from curator.classifiers.networks.network import build_network, parameter_count
    from curator.classifiers.networks.train import train_network
    from curator.classifiers.networks.training_set import training_set

    needs_networks(workspace.settings)
    request, pixels = network_request(workspace), pixel_input(workspace)
    announce_user_code(request, workspace.root, progress)
    ids = train.image_ids if validation is None else np.concatenate(
        [train.image_ids, validation.image_ids]
    )  # fmt: skip
    packed = ready_pixels(workspace, pixels, progress, only=ids)
    rows, known = _rows(workspace, packed.feature_set_id, train)
    recipe = workspace.settings.training.model_copy(update=changes)
    data = training_set(
        rows,
        known,
        balanced=workspace.settings.classifier.class_weight == "balanced",
        pseudo_share=0.0,
        human_share=recipe.human_share,
    )
    watched = None
    if validation is not None:
        watched_rows, watched_known = _rows(workspace, packed.feature_set_id, validation)
        watched = LabelledRows(rows=watched_rows, positive=watched_known)
    network = build_network(request, pixels, seed=seed)
    found = train_network(
        network, data, packed, recipe, validation=watched, device=_device(workspace), seed=seed
    )
    outcome = TrialResult(
        history=found.history,
        best_epoch=found.best_epoch,
        seconds=found.history[-1].seconds,
        parameters=parameter_count(network),
        images_per_second=found.images_per_second,
    )
    return outcome, found


def error_on(
    workspace: Workspace, trained: TrainedNetwork, test: TrialSample, progress: Progress = SILENT
) -> ErrorEstimate:
    """The error on the test split, with its exact 95% interval."""
    from curator.classifiers.networks.batch_loading import margins_of

    pixels = pixel_input(workspace)
    packed = ready_pixels(workspace, pixels, progress, only=test.image_ids)
    rows, known = _rows(workspace, packed.feature_set_id, test)
    odds = margins_of(trained.network, packed, rows, _device(workspace))
    return error_estimate((odds > 0) != known)


def needs_networks(settings: Settings) -> None:
    """Raise DataError unless the settings train a network."""
    if settings.classifier.kind != "finetune":
        raise DataError(
            "classifier.kind is `frozen`: its heads have no epochs and nothing to search for.",
            "Set classifier.kind to `finetune`, and classifier.model to a network.",
        )


def _rows(workspace: Workspace, feature_set_id: int, sample: TrialSample) -> tuple[Ids, Flags]:
    """The rows of the images that could be packed, and their classes."""
    rows = catalogued.rows_of(workspace.catalogue, feature_set_id, sample.image_ids)
    return rows[rows >= 0], sample.positive[rows >= 0]


def _device(workspace: Workspace) -> str:
    return choose_placement(device=workspace.settings.runtime.device, backend="torch").device
