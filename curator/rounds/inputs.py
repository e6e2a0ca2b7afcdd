"""What a round computes from, read once: people may label while it runs.

`prepare` encodes or packs what is missing for the kind of classifier that the settings ask for,
and `read_inputs` takes one snapshot of labels, pool and past rounds. Teacher, gates, score quality
and warnings all see this snapshot; what arrives later counts at commit and in the next round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from curator.base.arrays import POSITIVE_CODE
from curator.base.progress import Progress
from curator.base.text import count
from curator.base.vocabulary import GroupKind
from curator.catalogue import rounds
from curator.catalogue.engine import Catalogue
from curator.catalogue.groups import groups_of
from curator.catalogue.images import image_details
from curator.catalogue.pool import HumanLabels, Pool, human_labels, pool_size, read_pool
from curator.catalogue.queues import random_without_human
from curator.catalogue.sources import list_sources
from curator.classifiers.devices import choose_placement
from curator.classifiers.heads.frozen import FrozenHeads
from curator.classifiers.protocol import Classifier, TrainingLabels
from curator.encoding.encode import ready_features
from curator.encoding.pixel_packs import network_request, pixel_input, ready_pixels
from curator.encoding.stored_rows import StoredRows
from curator.errors import DataError
from curator.rounds.labels import check_labels, training_labels
from curator.rounds.score_quality import PastRound
from curator.rounds.source_shortcut import PoolSample, go_together, teaching_members
from curator.settings.sections import ClassesSettings
from curator.workspace import Workspace

SAMPLE_SIZE = 1_000
"""Unlabelled images whose sources are looked up, at random."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundInputs:
    """One snapshot of a workspace.

    `images` are features or pixels of every image in `pool`, `labels` what may be learned from
    `human`. `last` and `first` are the round before and the first one of the lineage.
    `pool_sample` is there only if a warning about sources may need it.
    """

    images: StoredRows
    human: HumanLabels
    labels: TrainingLabels
    pool: Pool
    last: PastRound | None
    first: PastRound | None
    source_names: Mapping[int, str]
    pool_sample: PoolSample | None


def prepare(workspace: Workspace, progress: Progress) -> tuple[Classifier[Any], StoredRows]:
    """The classifier of the settings, and features or pixels of every image.

    What is missing is computed now, and code of the user's is announced before it is run. Raises
    LearnError if there is no such network or device, and what `encode` and `pack` raise.
    """
    settings = workspace.settings
    if settings.classifier.kind != "finetune":
        heads = FrozenHeads(settings)
        return heads, ready_features(workspace, progress)
    from curator.classifiers.networks.classifier import announce_user_code
    from curator.classifiers.networks.cross_fitting import CrossFittedNetworks

    request = network_request(settings, workspace.root)
    announce_user_code(request, workspace.root, progress)
    device = choose_placement(device=settings.runtime.device, backend="torch").device
    pixels = pixel_input(workspace.catalogue, request)
    networks = CrossFittedNetworks(settings, request, pixels, device)
    return networks, ready_pixels(workspace, pixels, progress)


def read_inputs(
    workspace: Workspace, classifier: Classifier[Any], images: StoredRows
) -> RoundInputs:
    """Read everything that a round is computed from.

    Raises DataError, saying what to do, if nothing can be learned or nothing is left to promote.
    """
    settings = workspace.settings
    seed, set_id = settings.runtime.seed, images.feature_set_id
    with workspace.catalogue.snapshot() as catalogue:
        human = human_labels(catalogue, set_id)
        labels = training_labels(human, classifier.folds, seed)
        check_labels(labels, human, pool_size(catalogue), settings.classes)
        _check_groups(catalogue, labels, human, settings.classes)
        pool = read_pool(catalogue, set_id)
        names = {source.source_id: source.name for source in list_sources(catalogue)}
        head, lineage = rounds.head(catalogue), rounds.lineage(catalogue)
        return RoundInputs(
            images=images,
            human=human,
            labels=labels.among(pool.by_rows()[0]),
            pool=pool,
            last=None if head is None else _past_round(workspace, catalogue, head),
            first=None if head is None else _past_round(workspace, catalogue, lineage[0]),
            source_names=names,
            # Whether pixels show their source cannot be measured this way.
            pool_sample=_pool_sample(catalogue, human, names, seed)
            if not images.holds_pixels
            else None,
        )


def _past_round(workspace: Workspace, catalogue: Catalogue, round_id: int) -> PastRound:
    record = rounds.get_round(catalogue, round_id)
    scores = workspace.scores(record.score_digest)
    return PastRound(
        record=record,
        model_path=workspace.model_path(record.model_digest),
        scores=scores if scores is not None and len(scores) else None,
    )


def _check_groups(
    catalogue: Catalogue, labels: TrainingLabels, human: HumanLabels, classes: ClassesSettings
) -> None:
    """Raise DataError, saying what to do, if groups tie all labels of a class to one fold."""
    for name, side in ((classes.positive, labels.positive), (classes.negative, ~labels.positive)):
        members = labels.trains & side
        units = np.unique(labels.units[members])
        if len(units) == members.sum() or len(np.unique(labels.folds[members])) >= 2:
            continue
        image_ids = human.image_ids[np.isin(human.unit_keys, units)].tolist()
        mates = [mate for own in groups_of(catalogue, image_ids).values() for mate in own]
        kinds = {mate.kind for mate in mates if mate.primary}
        advice = f"Label {name} images of other groups: `curator review diverse`."
        if GroupKind.PERCEPTUAL in kinds:
            advice += (
                " If near-duplicates are different images to you, take their groups apart:"
                " `curator config duplicates.enabled=false`."
            )
        if GroupKind.USER in kinds:
            advice += " Or give smaller groups of your own: `curator group`."
        raise DataError(
            f"All {count(int(members.sum()), 'image')} labelled {name} are grouped together, in"
            f" {count(len(units), 'group')}, so nothing could be trained without them and tested"
            " on them.",
            advice,
        )


def _pool_sample(
    catalogue: Catalogue, human: HumanLabels, source_names: Mapping[int, str], seed: int
) -> PoolSample | None:
    """A sample of the pool if sources go with classes so far that a warning may need it."""
    teaching = teaching_members(human)
    if not go_together(human.source_ids[teaching], human.standing[teaching] == POSITIVE_CODE):
        return None
    image_ids = random_without_human(catalogue, size=SAMPLE_SIZE, seed=seed)
    numbers = {name: number for number, name in source_names.items()}
    shares: dict[int, float] = {}
    for image in image_details(catalogue, image_ids).values():
        if image.locations:
            source = numbers[image.locations[0].source]
            shares[source] = shares.get(source, 0.0) + 1 / len(image_ids)
    return PoolSample(image_ids=np.array(image_ids, dtype=np.int64), shares=shares)
