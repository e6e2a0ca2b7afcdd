"""The closed vocabularies of curator, spelled once.

Every value that is stored in the catalogue, printed, or written into a manifest comes
from here, so that a word means the same thing everywhere.
"""

from __future__ import annotations

from enum import StrEnum


class Label(StrEnum):
    """What an image can be called. Users see their own names for the two classes."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNSURE = "unsure"


class CurrentLabel(StrEnum):
    """The current label of an image, derived from its events.

    `CONFLICT` is not a label that anybody gives: imports of people's labels contradict
    each other, and nobody has looked since.
    """

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNSURE = "unsure"
    CONFLICT = "conflict"


class Origin(StrEnum):
    """Where a label comes from; all but `PROMOTED` are people.

    `CALIBRATION` is what the queue `random` gives; the word is that of earlier versions.
    """

    SEED = "seed"
    REVIEW = "review"
    CALIBRATION = "calibration"
    AUDIT = "audit"
    PROMOTED = "promoted"


LIKELIER = "likelier"
"""What manifests and `history` call a promoted label that `finish` gave without being sure."""


def read_origin(word: str) -> Origin:
    """The origin that a user names; `random` is what the queue of that name gives."""
    return Origin.CALIBRATION if word == "random" else Origin(word)


class EventKind(StrEnum):
    """What a label event does: people assert and retract, rounds promote and revoke."""

    ASSERT = "assert"
    RETRACT = "retract"
    PROMOTE = "promote"
    REVOKE = "revoke"


class Method(StrEnum):
    """How a person came to a decision, or `ROUND` for a round's own events."""

    SINGLE = "single"
    SHEET = "sheet"
    BLIND = "blind"
    IMPORT = "import"
    ROUND = "round"


class Split(StrEnum):
    """What the human labels of a group may be used for.

    `WITHHELD` marks an image that came to bridge groups of different splits: it is never
    trained on, and it is reported.
    """

    TRAIN = "train"
    CALIBRATION = "calibration"
    TEST = "test"
    WITHHELD = "withheld"


class LocationState(StrEnum):
    """Whether the file behind a location is still the image it was."""

    PRESENT = "present"
    CHANGED = "changed"
    MISSING = "missing"


class Quarantine(StrEnum):
    """Why an image, or a file that could not even be read, cannot be used."""

    EMPTY = "empty"
    NOT_AN_IMAGE = "not-an-image"
    UNSUPPORTED = "unsupported"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    CHANGING = "changing"


class ExclusionKind(StrEnum):
    """Whether an event excludes an image or takes an exclusion back."""

    EXCLUDE = "exclude"
    RESTORE = "restore"


class Oddity(StrEnum):
    """What an image stands out by among the others; nothing follows from it by itself.

    The catalogue keeps them as bits in this order.
    """

    DARK = "dark"
    BRIGHT = "bright"
    UNIFORM = "uniform"
    BLURRED = "blurred"
    TINY = "tiny"
    ELONGATED = "elongated"

    @property
    def bit(self) -> int:
        """Its bit in `picture_quality.oddities`."""
        return 1 << list(Oddity).index(self)


class GroupKind(StrEnum):
    """Why images belong together."""

    PERCEPTUAL = "perceptual"
    USER = "user"


SPLIT_OF_ORIGIN: dict[Origin, Split] = {
    Origin.SEED: Split.TRAIN,
    Origin.REVIEW: Split.TRAIN,
    Origin.CALIBRATION: Split.CALIBRATION,
    Origin.AUDIT: Split.TEST,
}
"""The split that a group is pinned to when its first human label has this origin."""


NO_CODE = -1
"""The array code of "none": no standing label, no origin, no split."""


def code_of(word: StrEnum | None) -> int:
    """The small integer that stands for a word in arrays: its place in its vocabulary."""
    return NO_CODE if word is None else list(type(word)).index(word)


class AuditKind(StrEnum):
    """What an audit is for.

    `PROMISE` certifies the largest part of a ranked frame that keeps a promise. `MEASURE`
    bounds the error of all that thresholds have promoted, `MISSED` how many of one class
    are hidden among the images that lean to the other.
    """

    PROMISE = "promise"
    MEASURE = "measure"
    MISSED = "missed"


class AuditScope(StrEnum):
    """Which labels an audit speaks about: all of them, or those of one class."""

    ALL = "all"
    POSITIVE = "positive"
    NEGATIVE = "negative"


class AuditState(StrEnum):
    """Whether an audit takes answers, was tested, or was given up."""

    OPEN = "open"
    CLOSED = "closed"
    ABANDONED = "abandoned"
