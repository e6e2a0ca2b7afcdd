"""What a round computes from, read once: people may label while it runs.

`classifier_for` says which kind the settings ask for, `prepare_images` encodes or packs what is
missing, and `read_inputs` takes one snapshot of labels, pool and past rounds. Teacher, gates,
score quality and warnings all see this snapshot; what arrives later counts at commit and in the
next round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curator.base.progress import Progress
from curator.catalogue import rounds
from curator.catalogue.engine import Catalogue
from curator.catalogue.pool import HumanLabels, human_labels, pool_size
from curator.catalogue.sources import list_sources
from curator.classifiers.devices import choose_placement
from curator.classifiers.heads.frozen import FrozenHeads
from curator.classifiers.protocol import Classifier, TrainingLabels
from curator.encoding.encode import ready_features
from curator.encoding.pixel_packs import (
    network_request,
    pixel_input,
    ready_pixels,
)
from curator.encoding.stored_rows import StoredRows
from curator.rounds.labels import Pool, check_groups, check_labels, read_pool, training_labels
from curator.rounds.score_quality import PastRound
from curator.rounds.source_shortcut import PoolSample, read_pool_sample
from curator.workspace import Workspace


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


def classifier_for(workspace: Workspace, progress: Progress) -> Classifier[Any]:
    """The kind of classifier that the settings ask for. Says so before code of the user's is run.

    Raises LearnError if there is no such network or device.
    """
    settings = workspace.settings
    if settings.classifier.kind == "finetune":
        from curator.classifiers.networks.classifier import announce_user_code
        from curator.classifiers.networks.cross_fitting import CrossFittedNetworks

        request = network_request(workspace)
        announce_user_code(request, workspace.root, progress)
        device = choose_placement(device=settings.runtime.device, backend="torch").device
        return CrossFittedNetworks(settings, request, pixel_input(workspace), device)
    return FrozenHeads(settings, choose_placement(device=settings.runtime.device).device)


def prepare_images(
    workspace: Workspace, classifier: Classifier[Any], progress: Progress
) -> StoredRows:
    """Features or pixels of every image; what is missing is computed now."""
    if classifier.needs == "pixels":
        return ready_pixels(workspace, pixel_input(workspace), progress)
    return ready_features(workspace, progress)


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
        check_groups(catalogue, labels, human, settings.classes)
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
            pool_sample=read_pool_sample(catalogue, human, names, seed)
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
