"""The small networks of the write-ups, registered with timm and named as timm names models.

- `faces_comics_mlp`: 24×24 RGB, 1728-128-128-2 with ReLU; ImageNet mean and deviation.
- `faces_comics_cnn_cN_wW_dD`: 150×150 grey; N convolutions 3×3 without padding, each with
  ReLU and 2×2 max pooling, W channels each, then D dense layers of W, one logit.
- `glasses_cnn_S`: S×S RGB; blocks of convolution 3×3, ReLU, 2×2 max pooling and batch
  normalisation down to 4×4, dropout, a dense layer, dropout, one logit.

The write-ups say nothing of the padding of the second family (its author's framework has
none by default) and nothing of the widths of the third; those are ours. Importing this
module is what registers them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from curator.classifiers.quiet import quiet_libraries

with quiet_libraries():
    import torch
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
    from torch import nn

CONVOLUTIONS = (1, 2, 3, 4, 5)
WIDTHS = (32, 64, 128)
DENSE_LAYERS = (0, 1, 2)
GLASSES_SIZES = (32, 64, 96, 128)

Size = int | tuple[int, int]

_GLASSES_WIDTHS = (32, 64, 128, 128, 128)
_GLASSES_END = 4
_GLASSES_DENSE = 128


class SmallNetwork(nn.Module):
    """A body that ends in a vector, dropout, and one linear layer, with timm's manners."""

    def __init__(self, body: nn.Sequential, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.num_classes = classes
        self.num_features = self.head_hidden_size = features
        self.body = body
        self.head_drop = nn.Dropout(dropout)
        self.head = _classifier(features, classes)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh last layer in place; 0 classes leaves the features as they are."""
        self.num_classes = num_classes
        self.head = _classifier(self.num_features, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """What the last layer sees, (N, features)."""
        features: torch.Tensor = self.body(x)
        return features

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Logits, (N, classes), of features."""
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, (N, classes), of normalised pixels (N, channels, S, S)."""
        return self.forward_head(self.forward_features(x))


def _side(size: Size) -> int:
    """The side of square pixels; timm says (height, width) where it fills in a model's own."""
    return size if isinstance(size, int) else size[0]


def _classifier(features: int, classes: int) -> nn.Module:
    return nn.Linear(features, classes) if classes else nn.Identity()


def _mlp(
    num_classes: int = 2,
    in_chans: int = 3,
    img_size: Size = 24,
    drop_rate: float = 0.0,
    **_: Any,
) -> SmallNetwork:
    inputs, hidden = in_chans * _side(img_size) ** 2, 128
    body = nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Dropout(drop_rate),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
    )
    return SmallNetwork(body, hidden, num_classes, drop_rate)


def _grey_cnn(
    *,
    convolutions: int,
    width: int,
    dense_layers: int,
    num_classes: int = 1,
    in_chans: int = 1,
    img_size: Size = 150,
    drop_rate: float = 0.0,
    **_: Any,
) -> SmallNetwork:
    layers: list[nn.Module] = []
    channels, side = in_chans, _side(img_size)
    for _step in range(convolutions):
        side = (side - 2) // 2
        if side < 1:
            raise ValueError(
                f"{_side(img_size)} pixels are too few for {convolutions} convolutions"
            )
        layers += [nn.Conv2d(channels, width, 3), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    layers.append(nn.Flatten())
    features = channels * side * side
    for _step in range(dense_layers):
        layers += [nn.Linear(features, width), nn.ReLU(), nn.Dropout(drop_rate)]
        features = width
    return SmallNetwork(nn.Sequential(*layers), features, num_classes, drop_rate)


def _glasses_cnn(
    *,
    num_classes: int = 1,
    in_chans: int = 3,
    img_size: Size = 64,
    drop_rate: float = 0.25,
    **_: Any,
) -> SmallNetwork:
    layers: list[nn.Module] = []
    channels, side = in_chans, _side(img_size)
    for width in _GLASSES_WIDTHS:
        if side // 2 < _GLASSES_END:
            break
        layers += [
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(width),
        ]
        channels, side = width, side // 2
    if not layers:
        raise ValueError(f"{_side(img_size)} pixels are too few for a single block")
    layers += [
        nn.Flatten(),
        nn.Dropout(drop_rate),
        nn.Linear(channels * side * side, _GLASSES_DENSE),
        nn.ReLU(),
    ]
    return SmallNetwork(nn.Sequential(*layers), _GLASSES_DENSE, num_classes, drop_rate)


def grey_cnn_name(convolutions: int, width: int, dense_layers: int) -> str:
    """timm's name of one of the 45 networks for 150×150 grey pixels."""
    return f"faces_comics_cnn_c{convolutions}_w{width}_d{dense_layers}"


def _grey_family() -> Iterator[tuple[str, dict[str, int]]]:
    for convolutions in CONVOLUTIONS:
        for width in WIDTHS:
            for dense_layers in DENSE_LAYERS:
                shape = {
                    "convolutions": convolutions,
                    "width": width,
                    "dense_layers": dense_layers,
                }
                yield grey_cnn_name(**shape), shape


def _cfg(size: int, channels: int, classes: int, first: str, **more: Any) -> dict[str, Any]:
    return {
        "input_size": (channels, size, size),
        "fixed_input_size": True,
        "num_classes": classes,
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "first_conv": first,
        "classifier": "head",
        **more,
    }


_IMAGENET = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}

_CONFIGURATIONS: dict[str, Any] = (
    {"faces_comics_mlp": _cfg(24, 3, 2, "body.1", **_IMAGENET)}
    | {name: _cfg(150, 1, 1, "body.0") for name, _shape in _grey_family()}
    | {f"glasses_cnn_{size}": _cfg(size, 3, 1, "body.0") for size in GLASSES_SIZES}
)

default_cfgs = generate_default_cfgs(_CONFIGURATIONS)


def _register(name: str, build: Callable[..., SmallNetwork], **shape: int) -> None:
    def entry(pretrained: bool = False, **kwargs: Any) -> Any:
        return build_model_with_cfg(build, name, pretrained, **{**shape, **kwargs})

    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = f"The network `{name}`, as described above."
    # timm finds configurations in the module that it believes the function to be from.
    entry.__module__ = __name__
    register_model(entry)


_register("faces_comics_mlp", _mlp)
for _name, _shape in _grey_family():
    _register(_name, _grey_cnn, **_shape)
for _size in GLASSES_SIZES:
    _register(f"glasses_cnn_{_size}", _glasses_cnn)
