"""How a network is trained, in plain values: the section `[training]` of the settings.

A recipe says nothing of the data, the machine or chance, so that the same recipe can be
tried on other data, by `tune` and `curve`, and by another machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Every field is the setting of the same name; see there for what it means."""

    epochs: int = 10
    batch_size: int = 64
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 0.01
    schedule: Literal["cosine", "exponential", "one-cycle", "constant"] = "cosine"
    decay: float = 0.9
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    dropout: float | Literal["auto"] = "auto"
    freeze: float = 0.0
    clip: float = 1.0
    ema: float = 0.0
    mixed_precision: Literal["auto", "on", "off"] = "auto"
    patience: int = 3
    validation_share: float = 0.2
    human_share: float = 0.5
    flip: bool = True
    shift: float = 0.08
    zoom: float = 0.0
    rotate: float = 0.0
    colour: float = 0.0
    erase: float = 0.0
    consistency: Literal["none", "fixmatch", "adaptive"] = "none"
    consistency_weight: float = 1.0
    unlabelled_ratio: int = 3
    judges: Literal["halves", "set-aside"] = "halves"
    normalization: Literal["auto", "imagenet", "unit", "symmetric"] = "auto"
    colours: Literal["auto", "rgb", "grey"] = "auto"
    new_last_layer: bool = True
