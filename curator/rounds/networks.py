"""A round of the fine-tuned kind: pack what is new, train the networks, score the pool.

Who teaches and who judges is decided in `learn.finetune.chains`; here the catalogue is
brought to it. `one_finetuned_round` leaves a round staged, as the frozen kind does.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curator.base.files import replacing
from curator.base.progress import Progress
from curator.base.vocabulary import CurrentLabel, Method, Split, code_of
from curator.catalogue import pool, rounds
from curator.catalogue.features import FeatureSetRecord
from curator.catalogue.pool import HumanLabels
from curator.classifiers.devices import choose_placement
from curator.classifiers.heads.frozen import PoolSlice
from curator.classifiers.heads.pseudo_labels import PseudoRule
from curator.encoding.new_files import EncodedPath
from curator.encoding.pixel_packs import (
    PackedPixels,
    network_request,
    pixel_input,
    ready_pixels,
    spec_of,
)
from curator.errors import DataError, LearnError
from curator.imaging.opening import read_file
from curator.imaging.problems import ImageProblem
from curator.rounds.labels import training_labels
from curator.rounds.score import Pool, RoundCounts, read_pool, score_pool
from curator.rounds.teacher import still_blind
from curator.storage.pack import decode_square
from curator.workspace import Workspace

if TYPE_CHECKING:
    from curator.classifiers.networks.classifier import FinetunedClassifier
    from curator.classifiers.networks.cross_fitting import (
        FineLabels,
        FinePlan,
        FineTrained,
        PreviousNetworks,
    )
    from curator.classifiers.networks.network import NetworkRequest
    from curator.classifiers.networks.training_state import EpochRecord

_NETWORKS_TAKE = 0.5
_CHECKPOINTS = "training"

Flags = NDArray[np.bool_]
TimedStage = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedRound:
    """A round that is computed and staged, but not committed."""

    trained: FineTrained
    tally: RoundCounts
    token: str
    feature_set_id: int
    score_digest: str


def one_finetuned_round(
    workspace: Workspace, parent_id: int | None, timed: TimedStage, progress: Progress
) -> StagedRound:
    """Train and stage one round; nothing of it stands before it is committed."""
    from curator.classifiers.networks.cross_fitting import (
        FineScorer,
        survey_pool_slices,
        train_chains,
    )

    plan = fine_plan(workspace, progress)
    with timed("pack"):
        pixels = ready_pixels(workspace, plan.pixels, progress)
    labels = fine_labels(workspace, pixels, plan)
    teacher = _teacher(workspace, parent_id, pixels, plan, progress)
    with timed("survey"):
        images = read_pool(workspace, pixels.feature_set_id)
        surveyed = survey_pool_slices(_slices(workspace, images, progress), pixels, teacher, plan)
    with timed("train"), _epochs(progress, plan) as epoch_done:
        trained = train_chains(
            labels, pixels, surveyed, teacher, plan, _described(workspace, pixels),
            checkpoints=_checkpoints(workspace), epoch_done=epoch_done,
        )  # fmt: skip
    token = rounds.begin_staging(workspace.catalogue)
    with timed("score"):
        score = partial(FineScorer(trained, teacher, plan).score, features=pixels)
        tally, digest = score_pool(workspace, images, score, token, progress, folds=_quarters())
    return StagedRound(
        trained=trained,
        tally=tally,
        token=token,
        feature_set_id=pixels.feature_set_id,
        score_digest=digest,
    )


def keep_networks(workspace: Workspace, classifier: FinetunedClassifier) -> str:
    """Write the model file, and forget where its training stood; returns its digest."""
    content = classifier.to_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with replacing(workspace.folder("models") / f"{digest}.safetensors") as stream:
        stream.write(content)
    return digest


def forget_checkpoints(workspace: Workspace) -> None:
    """Trainings that are committed need not be taken up again."""
    shutil.rmtree(workspace.folder("models") / _CHECKPOINTS, ignore_errors=True)


def fine_plan(workspace: Workspace, progress: Progress) -> FinePlan:
    """What the settings ask for. Says so before code of the user's is run."""
    from curator.classifiers.networks.cross_fitting import FinePlan

    settings = workspace.settings
    chosen, bars, request = settings.classifier, settings.promotion, network_request(workspace)
    say_whose_code(workspace, request, progress)
    return FinePlan(
        request=request,
        pixels=pixel_input(workspace),
        recipe=settings.training,
        pseudo=PseudoRule(
            above=bars.promote_above, below=bars.promote_below, limit=chosen.pseudo_limit
        )
        if chosen.pseudo_labels
        else None,
        pseudo_share=_NETWORKS_TAKE if chosen.pseudo_weight == "auto" else chosen.pseudo_weight,
        balanced=chosen.class_weight == "balanced",
        warm_start=chosen.warm_start,
        device=_device(workspace),
        seed=settings.runtime.seed,
    )


def fine_labels(workspace: Workspace, pixels: PackedPixels, plan: FinePlan) -> FineLabels:
    """What people said, and what each label may be used for.

    Raises DataError, saying what to do, if nothing can be learned from it.
    """
    from curator.classifiers.networks.cross_fitting import FineLabels

    human = pool.human_labels(workspace.catalogue, pixels.feature_set_id)
    if len(human.image_ids) == pool.pool_size(workspace.catalogue):
        raise DataError(
            f"People have labelled all {len(human.image_ids):,} images; there is nothing left to"
            " promote.",
            "Write the manifest with `curator export clean.csv`, or add more images.",
        )
    found = training_labels(human, _quarters(), workspace.settings.runtime.seed)
    usable = usable_labels(human)
    aside = _set_aside(human)[usable]
    halves = plan.recipe.judges == "halves"
    labels = FineLabels(
        rows=found.rows,
        units=human.unit_keys[usable],
        quarters=found.folds,
        positive=found.positive,
        trains=found.trains,
        judges=found.calibrates if halves else aside,
        representative=found.representative if halves else aside,
        sampled=found.sampled,
    )
    _check_classes(workspace, labels)
    return labels


def usable_labels(human: HumanLabels) -> Flags:
    """Which labels name one of the two classes and have pixels."""
    classes = [code_of(CurrentLabel.POSITIVE), code_of(CurrentLabel.NEGATIVE)]
    usable: Flags = np.isin(human.standing, classes) & (human.feature_rows >= 0)
    return usable


def _set_aside(human: HumanLabels) -> Flags:
    looked_at = human.method != code_of(Method.SHEET)
    aside: Flags = (human.split == code_of(Split.CALIBRATION)) & looked_at
    return aside


def _check_classes(workspace: Workspace, labels: FineLabels) -> None:
    classes = workspace.settings.classes
    counts = {
        classes.positive: int((labels.trains & labels.positive).sum()),
        classes.negative: int((labels.trains & ~labels.positive).sum()),
    }
    for name, count in counts.items():
        if count == 0:
            raise DataError(
                f"No image that may be trained on is labelled {name}.",
                f"Label some: `curator add FOLDER --label {name}`, `curator label FILE.csv`, or"
                " `curator review diverse`.",
            )


def _teacher(
    workspace: Workspace,
    parent_id: int | None,
    pixels: PackedPixels,
    plan: FinePlan,
    progress: Progress,
) -> PreviousNetworks | None:
    """The networks of the last round, or None if there are none that may teach."""
    from curator.classifiers.networks.classifier import load_finetuned
    from curator.classifiers.networks.cross_fitting import PreviousNetworks

    if parent_id is None:
        return None
    record = rounds.get_round(workspace.catalogue, parent_id)
    if record.model_digest is None or record.feature_set_id != pixels.feature_set_id:
        return None
    path = workspace.folder("models") / f"{record.model_digest}.safetensors"
    try:
        found = load_finetuned(path, record.model_digest)
        same = found.request.model == plan.request.model and found.head_count == plan.heads
        networks = found.networks(workspace.root) if same else []
    except LearnError as error:
        progress.note(f"{error.problem} This round learns from people's labels alone.")
        return None
    if same and still_blind(workspace, record, _quarters()):
        return PreviousNetworks(found.part, networks, found.calibration, found.turn)
    progress.note(
        "The network, its judges or the folds have changed since the last round. This round learns"
        " from people's labels alone."
    )
    return None


def _slices(workspace: Workspace, images: Pool, progress: Progress) -> Iterator[PoolSlice]:
    with progress.stage("survey", images.images) as stage:
        for part in images.slices(_quarters(), workspace.settings.runtime.seed):
            yield part
            stage.advance(len(part.rows))


class _epochs:  # noqa: N801 - a context manager, named as it reads
    """Reports each epoch as progress and as a sentence."""

    def __init__(self, progress: Progress, plan: FinePlan) -> None:
        self._progress = progress
        total = plan.heads * plan.recipe.epochs
        self._stage = progress.stage("train", total, "epochs")

    def __enter__(self) -> Callable[[int, EpochRecord], None]:
        self._open = self._stage.__enter__()
        return self._done

    def __exit__(self, *error: Any) -> None:
        self._stage.__exit__(*error)

    def _done(self, network: int, record: EpochRecord) -> None:
        self._open.advance()
        self._progress.note(f"Network {network + 1}, {epoch_sentence(record)}")


def epoch_sentence(record: EpochRecord) -> str:
    """One epoch in a line."""
    told = f"epoch {record.epoch}: loss {record.train_loss:.4f}, error {record.train_error:.1%}"
    if record.validation_loss is None or record.validation_error is None:
        return f"{told}."
    return (
        f"{told}; validation loss {record.validation_loss:.4f}, error"
        f" {record.validation_error:.1%}."
    )


def _described(workspace: Workspace, pixels: PackedPixels) -> dict[str, Any]:
    settings = workspace.settings
    return {
        "pixels": pixels.fingerprint,
        "positive": settings.classes.positive,
        "negative": settings.classes.negative,
        "seed": settings.runtime.seed,
        "training": settings.training.model_dump(),
    }


def _checkpoints(workspace: Workspace) -> Path:
    folder = workspace.folder("models") / _CHECKPOINTS
    folder.mkdir(exist_ok=True)
    return folder


def _quarters() -> int:
    from curator.classifiers.networks.cross_fitting import QUARTERS

    return QUARTERS


def pixels_of_paths(
    workspace: Workspace, files: Iterable[Path], feature_set: FeatureSetRecord
) -> Iterator[EncodedPath]:
    """The pixels of files that are not in the catalogue, as the pack would hold them."""
    spec, ingest = spec_of(feature_set), workspace.settings.ingest
    for path in files:
        try:
            data = read_file(os.fsencode(path), ingest.max_bytes)
            yield EncodedPath(path=path, features=decode_square(data, spec, ingest), problem=None)
        except ImageProblem as problem:
            yield EncodedPath(path=path, features=None, problem=problem.as_value())


def unseen_scorer(
    workspace: Workspace, path: Path, digest: str, progress: Progress
) -> Callable[[NDArray[Any]], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """How the networks of a model file score pixels (rows, side, side, channels)."""
    from curator.classifiers.networks.classifier import load_finetuned, score_unseen_pixels

    classifier = load_finetuned(path, digest)
    say_whose_code(workspace, classifier.request, progress)
    networks = classifier.networks(workspace.root)
    device = _device(workspace)

    def score(pixels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows = np.arange(len(pixels))
        held = HeldPixels(pixels)
        return score_unseen_pixels(networks, classifier.calibration, held, rows, device)

    return score


@dataclass(frozen=True, slots=True)
class HeldPixels:
    """Pixels in memory, read like a pack."""

    pixels: NDArray[np.uint8]

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """These rows, (rows, side, side, channels)."""
        return self.pixels[rows]


def say_whose_code(workspace: Workspace, request: NetworkRequest, progress: Progress) -> None:
    """Say so before code of the user's is run."""
    if request.is_user_code:
        progress.note(f"Running your own code: `{request.model}`, looked for in {workspace.root}.")


def _device(workspace: Workspace) -> str:
    return choose_placement(device=workspace.settings.runtime.device, backend="torch").device
