"""Whether the last round's heads may teach this one.

A head may teach its successor only while every human label still lies in the fold that it
had when the head was trained; otherwise the successor would inherit what it is judged on.
"""

from __future__ import annotations

import numpy as np

from curator.catalogue import pool, rounds
from curator.catalogue.rounds import RoundRecord
from curator.core.folds import fold_of
from curator.core.progress import Progress
from curator.errors import LearnError
from curator.learn.frozen import Plan
from curator.learn.model import FrozenClassifier, load_classifier
from curator.pixels.scores import read_scores
from curator.workflows.workspace import Workspace


def teacher_of(
    workspace: Workspace, parent_id: int | None, feature_set_id: int, plan: Plan, progress: Progress
) -> FrozenClassifier | None:
    """The heads of the last round, or None if there are none that may teach."""
    if parent_id is None or plan.pseudo is None:
        return None
    record = rounds.get_round(workspace.catalogue, parent_id)
    if record.model_digest is None or record.feature_set_id != feature_set_id:
        return None
    try:
        path = workspace.folder("models") / f"{record.model_digest}.safetensors"
        teacher = load_classifier(path, record.model_digest)
    except LearnError as error:
        progress.note(f"{error.problem} This round learns from people's labels alone.")
        return None
    if teacher.head_count == plan.heads and still_blind(workspace, record, plan.heads):
        return teacher
    progress.note(
        "Folds have changed since the last round, so its heads may have seen what they would be"
        " judged on. This round learns from people's labels alone."
    )
    return None


def still_blind(workspace: Workspace, record: RoundRecord, folds: int) -> bool:
    """Whether every human label lies in the fold that it had when the teacher was trained."""
    scores = read_scores(workspace.folder("scores"), record.score_digest or "")
    if scores is None:
        return False
    human = pool.human_labels(workspace.catalogue, record.feature_set_id)
    now = fold_of(human.unit_keys, folds, workspace.settings.runtime.seed)
    place = np.searchsorted(scores["image_id"], human.image_ids)
    known = place < len(scores)
    known[known] = scores["image_id"][place[known]] == human.image_ids[known]
    return bool((scores["fold"][place[known]] == now[known]).all())
