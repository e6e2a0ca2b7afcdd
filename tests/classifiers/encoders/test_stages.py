"""Features of all stages: what a network's maps say, whatever kind of network it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch

from curator.classifiers.encoders.stages import StageFeatures

pytestmark = pytest.mark.slow

SIZE = 64


def network(model: str, **options: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: Any = timm.create_model(model, pretrained=False, **options)
    made.reset_classifier(0)
    return made.eval()


def pictures() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, SIZE, SIZE))).float()


@pytest.mark.parametrize(
    ("model", "channels"),
    [
        ("tf_efficientnet_lite0", (24, 40, 80, 112, 192, 320)),
        ("resnet18", (64, 64, 128, 256, 512)[1:]),
        ("convnext_atto", (40, 80, 160, 320)),
        ("mobilenetv3_small_100", (16, 24, 40, 48, 96, 576)),
    ],
)
def test_networks_that_shrink_their_maps_give_three_numbers_a_channel(
    model: str, channels: tuple[int, ...]
) -> None:
    stages = StageFeatures(network(model), SIZE, final_only=False)
    assert stages.groups[:-1] == tuple(size for size in channels for _ in range(3))
    with torch.inference_mode():
        found = stages(pictures())
        final = stages.network(pictures())
    assert found.shape == (3, sum(stages.groups))
    torch.testing.assert_close(found[:, -final.shape[1] :], final, atol=1e-4, rtol=1e-4)


def test_the_three_numbers_are_mean_deviation_and_maximum_of_the_map() -> None:
    resnet = network("resnet18")
    maps: list[torch.Tensor] = []
    resnet.layer2.register_forward_hook(lambda module, inputs, output: maps.append(output))
    stages = StageFeatures(resnet, SIZE, final_only=False)
    maps.clear()
    with torch.inference_mode():
        found = np.split(stages(pictures()).numpy(), np.cumsum(stages.groups)[:-1], axis=1)
    places = maps[0].numpy().astype(np.float64).reshape(3, 128, -1)
    expected = places.mean(axis=2), places.std(axis=2), places.max(axis=2)
    for group, reference in zip(found[3:6], expected, strict=True):
        np.testing.assert_allclose(group, reference, atol=1e-5)


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_transformers_give_mean_patch_and_class_token_of_four_blocks(model: str) -> None:
    vit = network(model, img_size=SIZE)
    tokens: list[torch.Tensor] = []
    for block in (2, 5, 8, 11):
        vit.blocks[block].register_forward_hook(lambda _, __, output: tokens.append(output))
    stages = StageFeatures(vit, SIZE, final_only=False)
    assert stages.groups == (192,) * 9
    tokens.clear()
    with torch.inference_mode():
        found = torch.split(stages(pictures()), stages.groups, dim=1)
    for number, block in enumerate(tokens):
        patches = block[:, vit.num_prefix_tokens :].mean(dim=1)
        torch.testing.assert_close(found[2 * number], patches, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found[2 * number + 1], block[:, 0])


def test_networks_that_show_no_stages_and_the_setting_give_the_last_layer() -> None:
    plain = torch.nn.Sequential(
        torch.nn.Conv2d(3, 7, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    assert StageFeatures(plain.eval(), SIZE, final_only=False).groups == (7,)
    assert StageFeatures(network("resnet18"), SIZE, final_only=True).groups == (512,)
