"""The learning rate at each step, as a pure function of the recipe.

Without state a resumed training takes the very steps that it would have taken.
"""

from __future__ import annotations

import math

from curator.settings.sections import TrainingSettings

_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = 1e-4 / 25


def learning_rate(recipe: TrainingSettings, step: int, steps_per_epoch: int) -> float:
    """The learning rate of step `step`, counted from 0, over the whole training.

    `cosine` falls to nothing over the epochs of the recipe: Loshchilov and Hutter (2017),
    "SGDR", ICLR, eq. 5, without restarts. `one-cycle` rises for three tenths of the way
    from a 25th of the peak and falls again along cosines: Smith and Topin (2018),
    "Super-convergence". Warm-up multiplies the others by a line from 0 to 1.
    """
    total = recipe.epochs * steps_per_epoch
    progress = min(step / max(1, total - 1), 1.0)
    if recipe.schedule == "one-cycle":
        return recipe.learning_rate * _one_cycle(progress)
    factor = {
        "cosine": _cosine(1.0, 0.0, progress),
        "exponential": math.pow(recipe.decay, step / steps_per_epoch),
        "constant": 1.0,
    }[recipe.schedule]
    warmup_steps = recipe.warmup_epochs * steps_per_epoch
    warmth = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return recipe.learning_rate * factor * warmth


def _one_cycle(progress: float) -> float:
    if progress < _ONE_CYCLE_RISE:
        return _cosine(_ONE_CYCLE_START, 1.0, progress / _ONE_CYCLE_RISE)
    return _cosine(1.0, _ONE_CYCLE_END, (progress - _ONE_CYCLE_RISE) / (1 - _ONE_CYCLE_RISE))


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
