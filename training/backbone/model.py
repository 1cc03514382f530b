"""The backbone: a torchvision ResNet whose last layer tells augmentations apart."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.modules.batchnorm import _BatchNorm  # of which SyncBatchNorm is one too
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from augrank.errors import DataError
from training.config import Architecture

WIDTHS: dict[Architecture, int] = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}
LAST_LAYER = ("fc.weight", "fc.bias")


class Backbone(nn.Module):
    """Images to (features, logits). ``net`` is plain torchvision, and so are its weights' names.

    Args:
        architecture: resnet18, resnet34 or resnet50.
        augmentations: how many there are to tell apart.
        seed: of the initial weights.
    """

    def __init__(self, architecture: Architecture, augmentations: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            build = getattr(torchvision.models, architecture)
            # The last norm of each block starts at zero: He et al. (2019), "Bag of tricks".
            self.net: torchvision.models.ResNet = build(
                weights=None, num_classes=augmentations, zero_init_residual=True
            )
        self.feature_width = WIDTHS[architecture]
        self.frozen = False

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embed normalised images, float (N, 3, S, S): features (N, F) and logits (N, A)."""
        net = self.net
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            # The other way round it is the same, with four times the work for relu.
            x = net.relu(net.maxpool(net.bn1(net.conv1(images))))
            x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
            features = torch.flatten(net.avgpool(x), 1)
        return features, net.fc(features)

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the last layer makes of features, (N, F): (N, A), in float32 on the CPU."""
        layer = self.net.fc
        with torch.inference_mode():
            return linear(torch.from_numpy(features), layer.weight.cpu(), layer.bias.cpu()).numpy()

    def freeze(self) -> None:
        """Let only the last layer learn from now on; what batches are normalised by stays too."""
        self.frozen = True
        self.net.requires_grad_(False)
        self.net.fc.requires_grad_(True)

    def train(self, mode: bool = True) -> "Backbone":
        """Normalise by batches, unless frozen."""
        return super().train(mode and not self.frozen)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Backbone":
        """A copy; the processes that SyncBatchNorm speaks to are the same ones."""
        for module in self.modules():
            group = getattr(module, "process_group", None)
            memo[id(group)] = group
        copy = self.__class__.__new__(self.__class__)
        memo[id(self)] = copy
        copy.__dict__.update(deepcopy(self.__dict__, memo))
        return copy

    def folded(self) -> "Backbone":
        """A copy for inference, in which convolutions do what followed them: normalisation.

        The same numbers but for rounding, in an eighth less time or more.
        """
        copy = deepcopy(self).eval()
        for module in copy.net.modules():
            if isinstance(module, (BasicBlock, Bottleneck, ResNet)):
                _fold_into_convolutions(module)
        return copy

    def plain_state(self) -> dict[str, Tensor]:
        """torchvision-named weights on the CPU, float32, contiguous."""
        return {
            name: value.detach().cpu().contiguous().clone()
            for name, value in self.net.state_dict().items()
        }


def _fold_into_convolutions(module: nn.Module) -> None:
    """Each ``conv1, bn1`` of a block, and what is beside it."""
    for number in "123":
        if isinstance(norm := getattr(module, f"bn{number}", None), _BatchNorm):
            name = f"conv{number}"
            setattr(module, name, fuse_conv_bn_eval(getattr(module, name), norm))
            setattr(module, f"bn{number}", nn.Identity())
    if isinstance(beside := getattr(module, "downsample", None), nn.Sequential):
        convolution, norm = beside
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, _BatchNorm)
        module.downsample = nn.Sequential(fuse_conv_bn_eval(convolution, norm))


def load_weights(backbone: Backbone, architecture: Architecture, weights: str) -> str:
    """Start from trained weights.

    Args:
        backbone: changed in place.
        architecture: its name.
        weights: ``none``, ``imagenet`` (torchvision's, from its hub or its cache), or a file: a
            state dict, or a checkpoint that holds one under ``state_dict`` or ``model``.

    Returns:
        One line that says what was done, for the user.

    Raises:
        DataError: the hub cannot be reached, the file cannot be read or is of another network.
    """
    if weights == "none":
        return f"{architecture} starts from random weights"
    state = _from_hub(architecture) if weights == "imagenet" else _from_file(Path(weights))
    own = backbone.net.state_dict()
    new_last_layer = any(
        name not in state or state[name].shape != own[name].shape for name in LAST_LAYER
    )
    if new_last_layer:
        state = {**state, **{name: own[name] for name in LAST_LAYER}}
    _check_fit(state, own, architecture, weights)
    backbone.net.load_state_dict(state)
    line = f"{architecture} starts from {weights}"
    return (
        f"{line}; its last layer is new ({len(own['fc.bias'])} outputs)" if new_last_layer else line
    )


def _check_fit(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], architecture: str, weights: str
) -> None:
    missing = sorted(set(own) - set(state))
    unknown = sorted(set(state) - set(own))
    other = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for names, what in ((missing, "missing"), (unknown, "unknown"), (other, "of another shape"))
        if names
    ]
    if parts:
        raise DataError(
            f"{weights} does not hold the weights of a {architecture}",
            expected=f"torchvision's {architecture}",
            got="tensors that are " + ", ".join(parts),
            remedy="Name the network that they belong to with --backbone.",
        )


def _from_hub(architecture: Architecture) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = torchvision.models.get_model_weights(
            architecture
        ).IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a bad hash a RuntimeError
        raise DataError(
            f"torchvision's hub did not give the ImageNet weights ({error})",
            remedy="Download them where there is a network and name the file: --weights PATH; "
            "or start from random weights: --weights none.",
        ) from error
    return state


def _from_file(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        of_run = file / "backbone.pt"
        raise DataError(
            f"there are no weights {str(file)!r}",
            expected="none, imagenet or a file's path",
            remedy=f"Did you mean {of_run}?" if of_run.is_file() else "",
        )
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load fails in many ways on files that are not its own
        # Not its words: they advise to run what a file may hold.
        raise DataError(
            f"{file} cannot be read as weights",
            expected="a whole file of tensors alone, saved by torch.save",
            remedy="Name such a file, as a run's backbone.pt is.",
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(torch.is_tensor(v) for v in content.values()):
        raise DataError(f"{file} is no state dict", expected="tensors by name")
    return {str(name).removeprefix("module."): value for name, value in content.items()}
