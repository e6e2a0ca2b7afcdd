"""The sections of `curator.toml` as frozen models, passed down as they are.

The string under each field is its documentation: `curator config` prints it and
`docs/settings.md` is made from it.
"""

import re
import unicodedata
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from curator.base.vocabulary import AuditScope, Label
from curator.settings.keys import resolve_keys

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]
PositiveCount = Annotated[int, Field(ge=1)]


_RESERVED_NAMES = ("unsure", "conflict", "unlabelled", "skip", "undo", "quit")
"""What a label, a folder of an export or an answer in a review can be beside the two classes."""
_RENAME = "Choose another name; labels belong to the class and stay"


def _folded(name: str) -> str:
    """The same for names that differ in case, width or Unicode form alone."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", name).casefold())


class _Section(BaseModel):
    # Deferred: the sections are checked as parts of `Settings`, and not built a second time.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ClassesSettings(_Section):
    """The two classes and the tags a person may give."""

    positive: Name = "good"
    """The user's name for the positive class."""
    negative: Name = "bad"
    """The user's name for the negative class."""
    reasons: tuple[str, ...] = ()
    """Tags that a decision may carry, in the order of the keys 1 to 9."""
    deliver: Literal["both", "each", "positive", "negative"] = "both"
    """The class that is delivered, `both` with one bound, or `each` with an audit and bound."""

    @model_validator(mode="after")
    def _unmistakable(self) -> Self:
        """Refuse names that a person, a CSV or a folder could mistake for something else.

        A person types them without regard to case, and files go through systems that change the
        Unicode form; `positive` and `negative` always name the classes themselves.
        """
        for side, name in (("positive", self.positive), ("negative", self.negative)):
            other = {"positive": "negative", "negative": "positive"}[side]
            if not name.strip() or name != name.strip() or not name.isprintable():
                raise ValueError(
                    f"the name of the {side} class is {name!r}: blank, with spaces at an end, or"
                    f" with characters that cannot be seen. {_RENAME}"
                )
            if _folded(name) in (*_RESERVED_NAMES, other):
                raise ValueError(
                    f"the {side} class cannot be called `{name}`: that word means something else"
                    f" to curator. {_RENAME}"
                )
        if _folded(self.positive) == _folded(self.negative):
            raise ValueError(
                f"the classes `{self.positive}` and `{self.negative}` need names that differ in"
                f" more than case. {_RENAME}"
            )
        return self

    @property
    def delivered(self) -> AuditScope:
        """The class that is delivered, or all."""
        both = self.deliver in ("both", "each")
        return AuditScope.ALL if both else AuditScope(self.deliver)

    @property
    def certified_scopes(self) -> tuple[AuditScope, ...]:
        """What needs a certificate of its own before it is delivered."""
        if self.deliver == "each":
            return AuditScope.POSITIVE, AuditScope.NEGATIVE
        return (self.delivered,)

    def name_of(self, label: str) -> str:
        """The user's name for `positive` or `negative`; any other word stays as it is."""
        return {"positive": self.positive, "negative": self.negative}.get(label, label)

    def label_of(self, text: str) -> Label | None:
        """The label that a person means: a class by its name or `positive`, `negative`; `unsure`.

        Case and Unicode form do not matter. None for another word.
        """
        words = {str(label): label for label in Label}
        words |= {_folded(self.positive): Label.POSITIVE, _folded(self.negative): Label.NEGATIVE}
        return words.get(_folded(text))


class IngestSettings(_Section):
    """How files become images."""

    max_pixels: PositiveCount = 250_000_000
    """Images with more pixels are quarantined as `too-large` before they are decoded."""
    max_memory: PositiveCount = 2_000_000_000
    """Images that need more bytes to decode and convert are quarantined as `too-large` before."""
    max_bytes: PositiveCount = 2_000_000_000
    """Files with more bytes are quarantined as `too-large` before they are read."""
    background: Annotated[
        str, Field(pattern=r"^#[0-9a-fA-F]{6}$", description="a colour such as `#ffffff`")
    ] = "#ffffff"
    """The colour that transparent pixels are laid on."""
    preview_size: Count = 384
    """Longest side, in pixels, of the previews kept for review; 0 keeps none."""
    preview_quality: Annotated[int, Field(ge=1, le=95)] = 80
    """JPEG quality of the previews."""


class DuplicatesSettings(_Section):
    """When two different files count as the same picture."""

    enabled: bool = True
    """Whether near-duplicates are looked for at all."""
    hash_radius: Annotated[int, Field(ge=0, le=8)] = 8
    """Perceptual hashes that differ in at most this many of 64 bits propose a pair."""
    pixel_tolerance: Annotated[float, Field(ge=0.0, le=1.0)] = 0.08
    """Root mean square by which two small grey pictures may differ, in units of their contrast."""
    local_tolerance: Annotated[float, Field(ge=0.0, le=255.0)] = 4.0
    """Grey levels by which any part of two small pictures may differ, a fortieth of a side wide."""
    largest_group: Annotated[int, Field(ge=2)] = 10
    """Groups of more different pictures are dissolved: a camera that does not move, rather than
    copies. Files with the same pixels count as one."""


def _usual_strength(value: Any) -> Any:
    # Labels chose C once. A fixed one was as good on every task, and files may still say `auto`.
    return 0.1 if value == "auto" else value


class ClassifierSettings(_Section):
    """What is trained in a round."""

    kind: Literal["frozen", "finetune"] = "frozen"
    """`frozen`: heads on a pre-trained encoder's features; `finetune`: networks end to end."""
    model: Name = "tf_efficientnet_lite0"
    """Any model of timm, `features:NAME` for your own features, `module:function` for a network."""
    weights: str = ""
    """A file (.safetensors, .pth); empty takes the usual weights, `scratch` random ones."""
    image_size: Literal["auto"] | Annotated[int, Field(ge=16, le=2048)] = "auto"
    """Side of the encoder's input in pixels; `auto` is its native size, less for small images."""
    fit: Literal["squash", "crop", "pad"] = "squash"
    """How an image that is not square becomes square."""
    layers: Literal["stages", "final"] = "stages"
    """Of the encoder: `stages` takes numbers from all stages and keeps their 512 leading
    directions in this pool; `final` takes the last layer as it is."""
    imported_scale: Literal["each", "common"] = "each"
    """Of imported features: `each` number is scaled to unit variance, or all by one `common`
    factor, which suits principal components and embeddings."""
    folds: Annotated[int, Field(ge=2, le=20)] = 20
    """Number of cross-fitted heads; each is blind to one fold of the human labels."""
    regularization: Annotated[float, Field(gt=0.0), BeforeValidator(_usual_strength)] = 0.1
    """Inverse strength C of the heads' L2 penalty, as in scikit-learn."""
    doubt: bool = True
    """Whether labels that the others contradict firmly weigh less in training; none is changed."""
    class_weight: Literal["balanced", "none"] = "balanced"
    """Whether the rarer class counts more in training, so that both weigh the same."""
    neighbours: bool = True
    """Whether an image's nearest neighbours in the pool count in its score, as much as held-out
    labels say."""
    pseudo_labels: bool = True
    """Whether heads also train on what the last round's heads were very sure of."""
    pseudo_weight: Literal["auto"] | Annotated[float, Field(ge=0.0, le=100.0)] = "auto"
    """Weight of all pseudo-labels as a multiple of the human labels'; `auto`: what they
    earn by being right (networks: 0.5)."""
    pseudo_limit: PositiveCount = 3_000
    """Most pseudo-labels per class and head; a random sample beyond that."""
    warm_start: bool = False
    """Whether a network's training goes on from the last round's weights; heads always do."""


class PromotionSettings(_Section):
    """When a round gives a label by itself, and when it takes one back."""

    policy: Literal["thresholds", "certified"] = "thresholds"
    """`thresholds`: by probability; `certified`: provisional until an audit proves `max_error`."""
    max_error: Annotated[float, Field(gt=0.0, le=0.5)] = 0.01
    """The largest share of wrong promoted labels that you accept: an audit proves it, and a round
    promotes nothing when labels show that more is wrong."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """How sure a certificate is, over all audits of the workspace together."""
    score: Literal["calibrated", "raw"] = "calibrated"
    """Which probability the thresholds are applied to."""
    promote_above: Probability = 0.99
    """Unlabelled images with a higher P(positive) are promoted to positive."""
    promote_below: Probability = 0.03
    """Unlabelled images with a lower P(positive) are promoted to negative."""
    revoke_below: Probability = 0.98
    """Promoted positives that fall below this P(positive) lose their label."""
    revoke_above: Probability = 0.04
    """Promoted negatives that rise above this P(positive) lose their label."""

    @model_validator(mode="before")
    @classmethod
    def _beside_the_upper(cls, values: Any) -> Any:
        # A workspace that has set only the upper thresholds must stay valid.
        if not isinstance(values, dict):
            return values
        above, below = values.get("promote_above"), values.get("promote_below")
        usual: dict[str, Any] = {}
        if isinstance(above, int | float):
            usual["revoke_below"] = min(0.98, above)
        if isinstance(below, int | float):
            usual["revoke_above"] = max(0.04, below)
        return usual | values

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        ordered = (self.promote_below, self.revoke_above, self.revoke_below, self.promote_above)
        if list(ordered) != sorted(ordered) or self.promote_below == self.promote_above:
            raise ValueError(
                "the thresholds must rise: promote_below <= revoke_above <= revoke_below"
                " <= promote_above"
            )
        return self


class AuditSettings(_Section):
    """The blind audit of what rounds promote, from which certificates come."""

    size: Count = 0
    """Images that are audited; 0 takes as many as are worth their decisions."""
    reserve: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    """Share of the risk that is left that each audit keeps for later ones; 0 keeps none."""
    ranking: Literal["plain", "balanced"] = "plain"
    """`plain`: the most certain first; `balanced`: classes in the same proportion throughout."""
    slips: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Share of right labels that will be called wrong or not settled; only plans heed it."""
    overlooked: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    """Share of wrong labels that the annotator may overlook; audits then test a smaller error."""


class GatesSettings(_Section):
    """What holds a promotion back, however sure the score is; rounds only, not `predict`."""

    distance: Annotated[float, Field(ge=0.0)] = 1.0
    """How far an image may lie from everything labelled, as a multiple of how far the most
    remote labelled image lies from the other ones; 0 does not ask."""


class RoundsSettings(_Section):
    """When repeated rounds end."""

    stable_share: Probability = 0.001
    """`--until-stable` ends, as well as when labels show no gain, when a round changes no more
    than this share of the pool."""
    max_rounds: PositiveCount = 20
    """`--until-stable` ends after this many rounds in any case."""


class SplitsSettings(_Section):
    """Human labels set aside from training, by group."""

    calibration_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Share of the groups first labelled by seed or review that only calibrate."""
    test_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Share of the groups first labelled by seed or review that are only tested on."""


class TrainingSettings(_Section):
    """How a network is trained end to end: by `classifier.kind = "finetune"`, and by `tune`."""

    epochs: PositiveCount = 10
    """Passes over the labels, at most."""
    batch_size: Annotated[int, Field(ge=2, le=4096)] = 64
    """Labelled images per step."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """How weights follow their gradients; `sgd` is with Nesterov momentum."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 0.001
    """The largest step size of the schedule."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Momentum of `sgd`."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """Pull of the weights towards zero; biases and normalisation are left alone."""
    schedule: Literal["cosine", "exponential", "one-cycle", "constant"] = "cosine"
    """How the learning rate changes from step to step."""
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Factor per epoch of the exponential schedule."""
    warmup_epochs: Annotated[float, Field(ge=0.0)] = 0.0
    """Epochs over which the learning rate first rises from nothing; not for `one-cycle`."""
    label_smoothing: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """How far targets are drawn from 0 and 1 towards one half of it."""
    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    """Alpha of mixup, which trains on blends of two images; 0 is off."""
    dropout: Literal["auto"] | Annotated[float, Field(ge=0.0, lt=1.0)] = "auto"
    """Share of activations dropped before the last layer; `auto` is the network's own."""
    freeze: Probability = 0.0
    """Share of the layers, from the input on, that keep their weights; 1 trains the last alone."""
    clip: Annotated[float, Field(ge=0.0)] = 1.0
    """Largest norm of a gradient; 0 does not limit it."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay per step of averaged weights, which then are judged and kept; 0 is off."""
    mixed_precision: Literal["auto", "on", "off"] = "auto"
    """Whether products are computed in 16 bits; `auto` does so on CUDA."""
    patience: Count = 3
    """Stop after so many epochs of at least 25 steps without a lower validation loss; 0: never."""
    validation_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.2
    """Share of the labels, by group, that only say when to stop; 0 takes the last epoch."""
    human_share: Probability = 0.5
    """Smallest share of every batch that people have labelled."""
    flip: bool = True
    """Whether training images are mirrored at random."""
    shift: Annotated[float, Field(ge=0.0, le=0.5)] = 0.08
    """Farthest random move of a training image, as a share of its side."""
    zoom: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    """Farthest random change of a training image's scale."""
    rotate: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    """Farthest random turn of a training image in degrees."""
    colour: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Largest random change of brightness, contrast and saturation."""
    erase: Probability = 0.0
    """How often a random rectangle of a training image is blanked."""
    judges: Literal["halves", "set-aside"] = "halves"
    """`halves`: two networks score each other's half; `set-aside`: labels kept apart judge."""
    normalization: Literal["auto", "imagenet", "unit", "symmetric"] = "auto"
    """Range of its inputs; `auto` is the network's own, `symmetric` (-1 to 1) for one of yours."""
    colours: Literal["auto", "rgb", "grey"] = "auto"
    """Three channels or one; `auto` is what the network expects."""
    new_last_layer: bool = True
    """Whether the last layer of weights that are loaded is replaced by a fresh one."""


class PackSettings(_Section):
    """The decoded pixels that training reads instead of the files."""

    max_bytes: PositiveCount = 8_000_000_000
    """Beyond this, pixels are kept as JPEGs, which are smaller and slower to read."""
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 95
    """Quality of these JPEGs."""


class TuneSettings(_Section):
    """The search of `curator tune`."""

    space: tuple[str, ...] = ("training.learning_rate=log:0.0001..0.1",)
    """What is searched: `KEY=a,b`, `KEY=low..high`, `KEY=log:low..high`, `KEY=name_{a,b}`."""
    search: Literal["staged", "random", "grid", "tpe"] = "random"
    """`staged` halves the candidates on ever more data; `tpe` learns from its own trials."""
    trials: PositiveCount = 20
    """Most trials of a search that is not staged."""
    minutes: Annotated[float, Field(ge=0.0)] = 0.0
    """No trial begins after this; 0: no limit."""
    candidates: tuple[PositiveCount, ...] = (27, 6, 4)
    """How many candidates each stage of a staged search tries."""
    shares: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = (0.3, 0.675, 1.0)
    """Share of the training labels that each stage trains on."""
    metric: Literal["loss", "error"] = "loss"
    """What is made small on the validation labels."""

    @model_validator(mode="after")
    def _stages(self) -> Self:
        if len(self.candidates) != len(self.shares) or not self.candidates:
            raise ValueError("tune.candidates and tune.shares need one number for each stage")
        if list(self.shares) != sorted(self.shares):
            raise ValueError("the shares must rise from stage to stage")
        return self


class ReviewSettings(_Section):
    """The review in the terminal."""

    goal: Count = 0
    """Decisions that a session aims at; the time left is shown up to there. 0: no goal."""
    pictures: Literal["auto", "halfcell"] = "auto"
    """`auto`: real pixels where the terminal draws them (Kitty, Sixel); `halfcell`: never."""
    cells: Literal["auto", "half", "quadrant", "sextant"] = "auto"
    """Parts of a character cell where no pixels are drawn: 2, 4 or 6. `auto`: 6 where the terminal
    is known to draw them itself, else 2; `curator doctor` shows a sample of each.
    """
    theme: str = "textual-dark"
    """Colours of the interface; the palette (ctrl+p) lists all themes."""
    sessions: PositiveCount = 8
    """Most pages of the review that are open in browsers at once."""
    keys: dict[str, str] = {}
    """Other keys for actions (`docs/review.md` lists them), as `positive = "p"`."""

    @model_validator(mode="after")
    def _keys_are_clear(self) -> Self:
        resolve_keys(self.keys)
        return self


class ExportSettings(_Section):
    """What a manifest leaves out."""

    uncertain_from: Probability = 0.5
    """Images with a P(positive) from here to `uncertain_to` are left out, and counted."""
    uncertain_to: Probability = 0.5
    """The end of that band; equal numbers leave nothing out."""


class CatalogueSettings(_Section):
    """Where the catalogue is kept; `curator catalogue move` changes it."""

    url: Annotated[
        str,
        Field(
            pattern=r"^(postgresql(\+psycopg)?://.+)?$",
            description="empty, or text that begins with `postgresql://`",
        ),
    ] = ""
    """Empty for a file in `.curator`, or `postgresql+psycopg://HOST/DATABASE` (docs/scale.md).
    No password: that belongs into the environment (PGPASSWORD) or ~/.pgpass."""

    @field_validator("url")
    @classmethod
    def _holds_no_password(cls, url: str) -> str:
        # As SQLAlchemy reads it: a password may hold anything but `@`.
        if re.search(r"://[^:/@]*:[^@]*@|[?&](ssl)?password=", url, re.IGNORECASE):
            raise ValueError(
                "a password does not belong in this file; put it into the environment"
                " (PGPASSWORD) or into ~/.pgpass"
            )
        return url


class BackupSettings(_Section):
    """Backups of the catalogue in `.curator/backups`, each checked after it was written."""

    every_hours: Annotated[float, Field(ge=0.0)] = 1.0
    """A command that wrote makes a backup at its end if the last is older; 0 makes none."""
    keep: Count = 3
    """Backups kept of each kind: on schedule, before a step, before a restore; 0 makes none."""


class RuntimeSettings(_Section):
    """The machine, and chance."""

    device: str = "auto"
    """`auto` (CUDA, then MPS, then CPU), or a torch device such as `cpu` or `cuda:1`."""
    backend: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the encoder; `auto` takes OpenVINO on a CPU where it is installed."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the encoder; `auto` is bfloat16 where the processor has it."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    """Images per forward pass of the encoder; halved by itself when a GPU runs out of memory."""
    workers: Count = 0
    """Threads that read and decode images; 0 is one per core."""
    threads: Count = 0
    """Threads of each numeric routine; 0 is one per core. Other numbers, other last bits."""
    seed: Count = 0
    """Every random choice follows from this number."""
    # Whose processors did the work changes no result, so rounds and manifests do not record it.
    engine: Literal["local", "ray"] = Field(default="local", exclude=True)
    """Who encodes images, packs pixels and writes shards: threads of this computer, or a Ray
    cluster (docs/scale.md)."""
    ray_address: Annotated[
        str,
        Field(
            pattern=r"^(auto|local|[^\s:/]+:\d+|\[[^\s\]]+\]:\d+)?$",
            description="empty, `auto`, `local` or HOST:PORT",
        ),
    ] = Field(default="", exclude=True)
    """The cluster as HOST:PORT of its head; empty takes the environment variable RAY_ADDRESS, and
    without it starts Ray on this computer alone. `curator config` also notes that you trust it."""
    chunk: Annotated[int, Field(ge=1, le=65_536)] = Field(default=512, exclude=True)
    """Images that a worker of the Ray cluster gets at once; if it dies, they are done again."""


class Settings(_Section):
    """All settings of a workspace."""

    classes: ClassesSettings = ClassesSettings()
    ingest: IngestSettings = IngestSettings()
    duplicates: DuplicatesSettings = DuplicatesSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    promotion: PromotionSettings = PromotionSettings()
    audit: AuditSettings = AuditSettings()
    gates: GatesSettings = GatesSettings()
    rounds: RoundsSettings = RoundsSettings()
    splits: SplitsSettings = SplitsSettings()
    training: TrainingSettings = TrainingSettings()
    pack: PackSettings = PackSettings()
    tune: TuneSettings = TuneSettings()
    export: ExportSettings = ExportSettings()
    review: ReviewSettings = ReviewSettings()
    # Rounds and manifests record the settings that they come from: where rows lie is none of them,
    # and whoever gets a manifest need not know the name of a server.
    catalogue: CatalogueSettings = Field(default=CatalogueSettings(), exclude=True)
    backup: BackupSettings = BackupSettings()
    runtime: RuntimeSettings = RuntimeSettings()


_CONSISTENCY = "training on unlabelled images gained nothing and took several times as long"

_GATES = "it held back nothing that distance does not, or only delayed it (docs/adr/0014-gates.md)"

REMOVED_SETTINGS = {
    "classifier.neighbour_share": "labels decide now what neighbours count for;"
    " classifier.neighbours = false leaves them out",
    "gates.agreement": _GATES,
    "gates.pace": _GATES,
    "training.consistency": _CONSISTENCY,
    "training.consistency_weight": _CONSISTENCY,
    "training.unlabelled_ratio": _CONSISTENCY,
}
"""Keys of settings that earlier versions had, and why each was removed."""
