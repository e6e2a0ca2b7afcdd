"""How the labels that rounds gave compare with what human raters said of the same images.

Raters gave each image a probability of being negative. Where they agreed (0 or 1) a label
is right or wrong; where they did not, it is counted apart, and a second error counts it
by the likelier rating.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curator.base.vocabulary import CurrentLabel


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedImage:
    """An image without a human label in the workspace, and what raters said about it.

    `negative_rating` is 0 to 1. `promoted` is the class that a round gave, or None.
    `probability` is the current P(positive).
    """

    name: str
    negative_rating: float
    promoted: CurrentLabel | None
    probability: float

    @property
    def unsure(self) -> bool:
        """Whether the raters did not agree."""
        return 0 < self.negative_rating < 1

    @property
    def wrong(self) -> bool:
        """Whether the promoted class is not the one that raters found likelier."""
        return (self.promoted is CurrentLabel.NEGATIVE) != (self.negative_rating > 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedOutcome:
    """What became of the images promoted to one class.

    `wrong` and `right` count those on which raters agreed; `unsure` the others, of which
    `unsure_wrong` have another class than the likelier rating.
    """

    right: int
    wrong: int
    unsure: int
    unsure_wrong: int

    @property
    def promoted(self) -> int:
        """All images promoted to this class."""
        return self.right + self.wrong + self.unsure

    @property
    def error(self) -> float | None:
        """Wrong ones among those on which raters agreed; None if there are none."""
        agreed = self.right + self.wrong
        return self.wrong / agreed if agreed else None

    @property
    def error_with_unsure(self) -> float | None:
        """Wrong ones among all, by the likelier rating; None if there are none."""
        return (self.wrong + self.unsure_wrong) / self.promoted if self.promoted else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderlineOutcome:
    """How often raters were unsure on the borderline images, and on all others.

    Both counts are of images without a human label in the workspace.
    """

    borderline: int
    borderline_unsure: int
    others: int
    others_unsure: int

    @property
    def times_likelier(self) -> float | None:
        """Share of unsure ones among the borderline / share among the others."""
        if not (self.borderline and self.others_unsure):
            return None
        share = self.borderline_unsure / self.borderline
        return share / (self.others_unsure / self.others)


def outcome_of(images: Sequence[RatedImage], label: CurrentLabel) -> PromotedOutcome:
    """Compare all images promoted to `label` with their ratings."""
    promoted = [image for image in images if image.promoted is label]
    agreed = [image for image in promoted if not image.unsure]
    unsure = [image for image in promoted if image.unsure]
    wrong = sum(image.wrong for image in agreed)
    return PromotedOutcome(
        right=len(agreed) - wrong,
        wrong=wrong,
        unsure=len(unsure),
        unsure_wrong=sum(image.wrong for image in unsure),
    )


def most_borderline(images: Sequence[RatedImage], size: int) -> list[RatedImage]:
    """The `size` images nearest to undecided among those that were not promoted."""
    open_ones = [image for image in images if image.promoted is None]
    return sorted(open_ones, key=lambda image: (abs(image.probability - 0.5), image.name))[:size]


def surest(images: Sequence[RatedImage], label: CurrentLabel, size: int) -> list[RatedImage]:
    """The `size` images promoted to `label` with the most extreme P(positive), surest first."""
    sign = -1 if label is CurrentLabel.POSITIVE else 1
    promoted = [image for image in images if image.promoted is label]
    return sorted(promoted, key=lambda image: (sign * image.probability, image.name))[:size]


def borderline_outcome(images: Sequence[RatedImage], size: int) -> BorderlineOutcome:
    """How often raters were unsure on the `size` most borderline images, and on the rest."""
    chosen = most_borderline(images, size)
    unsure = sum(image.unsure for image in chosen)
    return BorderlineOutcome(
        borderline=len(chosen),
        borderline_unsure=unsure,
        others=len(images) - len(chosen),
        others_unsure=sum(image.unsure for image in images) - unsure,
    )
