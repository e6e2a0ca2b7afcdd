"""Learning from images that nobody has labelled: what a network says of a weakly changed
image is what it should say of a strongly changed one.

`fixmatch` believes the weak view above a fixed probability: Sohn, Berthelot, Li et al.
(2020), "FixMatch", NeurIPS, eq. 4. `adaptive` lets the bar follow the network, higher for
the class that it finds easy: Wang, Chen, Heng et al. (2023), "FreeMatch", ICLR, eqs. 5-8.
That is the thought of Zhang, Wang, Hou et al. (2021), "FlexMatch", NeurIPS, without its
memory of every image. FreeMatch's bar begins at one over the number of classes; with two
classes and some hundreds of steps that believes everything before anything is learned, and
networks fell into one class. So ours begins at FixMatch's, and comes down to the network.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

FIXED_THRESHOLD = 0.95
"""FixMatch's tau."""

MOMENTUM = 0.99
"""Of the running means. FreeMatch takes 0.999 over a million steps; ours are some hundreds."""


@dataclass(slots=True)
class Thresholds:
    """The bar that each class must clear; `mean_top` and `mean_positive` are running means of
    the larger probability and of P(positive)."""

    adaptive: bool
    mean_top: torch.Tensor = field(default_factory=lambda: torch.tensor(FIXED_THRESHOLD))
    mean_positive: torch.Tensor = field(default_factory=lambda: torch.tensor(0.5))

    def observe(self, probability: torch.Tensor) -> None:
        """Take in P(positive) (N,) of a batch of weak views."""
        if not self.adaptive:
            return
        top = torch.maximum(probability, 1 - probability).mean().cpu()
        self.mean_top = MOMENTUM * self.mean_top + (1 - MOMENTUM) * top
        mean = probability.mean().cpu()
        self.mean_positive = MOMENTUM * self.mean_positive + (1 - MOMENTUM) * mean

    def of_classes(self) -> tuple[float, float]:
        """The bars for positive and for negative.

        FreeMatch, eq. 8: the global bar, times each class's running share over the larger.
        """
        if not self.adaptive:
            return FIXED_THRESHOLD, FIXED_THRESHOLD
        positive = float(self.mean_positive)
        largest = max(positive, 1 - positive)
        top = float(self.mean_top)
        return top * positive / largest, top * (1 - positive) / largest


def consistency_loss(
    weak: torch.Tensor, strong: torch.Tensor, thresholds: Thresholds
) -> torch.Tensor:
    """The mean loss of strong views' log-odds (N,) against what weak views' (N,) say.

    Images below their class's bar count in the mean with a loss of nothing. `thresholds`
    take in the weak views first.
    """
    probability = torch.sigmoid(weak.detach().float())
    thresholds.observe(probability)
    bar_positive, bar_negative = thresholds.of_classes()
    positive = probability >= 0.5
    believed = torch.where(positive, probability > bar_positive, 1 - probability > bar_negative)
    losses = binary_cross_entropy_with_logits(strong.float(), positive.float(), reduction="none")
    return (losses * believed).mean()
