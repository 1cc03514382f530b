"""The backbone: a torchvision ResNet whose last layer recognises augmentations."""

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.modules.batchnorm import _BatchNorm  # the base of SyncBatchNorm too
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from augrank.contracts.run import BackboneName
from augrank.errors import DataError

WIDTHS: dict[BackboneName, int] = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}
LAST_LAYER = ("fc.weight", "fc.bias")


class Backbone(nn.Module):
    """Maps images to (features, logits). ``net`` is torchvision's, and so are its weights' names.

    Args:
        architecture: resnet18, resnet34 or resnet50.
        augmentations: number of classes.
        seed: of the initial weights.
    """

    def __init__(self, architecture: BackboneName, augmentations: int, seed: int) -> None:
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
            # torchvision's order, relu before maxpool, gives the same result at four times the
            # cost.
            x = net.relu(net.maxpool(net.bn1(net.conv1(images))))
            x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
            features = torch.flatten(net.avgpool(x), 1)
        return features, net.fc(features)

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits (N, A) from features (N, F), in float32 on the CPU."""
        layer = self.net.fc
        with torch.inference_mode():
            return linear(torch.from_numpy(features), layer.weight.cpu(), layer.bias.cpu()).numpy()

    def freeze(self) -> None:
        """Train only the last layer from now on; running statistics are kept too."""
        self.frozen = True
        self.net.requires_grad_(False)
        self.net.fc.requires_grad_(True)

    def train(self, mode: bool = True) -> "Backbone":
        """Set training mode, unless frozen."""
        return super().train(mode and not self.frozen)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Backbone":
        """Copy the backbone; SyncBatchNorm keeps its process group, which cannot be copied."""
        for module in self.modules():
            group = getattr(module, "process_group", None)
            memo[id(group)] = group
        copy = self.__class__.__new__(self.__class__)
        memo[id(self)] = copy
        copy.__dict__.update(deepcopy(self.__dict__, memo))
        return copy

    def folded(self) -> "Backbone":
        """Return a copy for inference with batch normalisation folded into the convolutions.

        Results are equal up to rounding, in at least an eighth less time.
        """
        copy = deepcopy(self).eval()
        for module in copy.net.modules():
            if isinstance(module, (BasicBlock, Bottleneck, ResNet)):
                _fold_into_convolutions(module)
        return copy

    def digest(self) -> str:
        """Hash the weights that features depend on: all but the last layer's."""
        digest = hashlib.sha256()
        for name, value in self.plain_state().items():
            if name not in LAST_LAYER:
                digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()

    def plain_state(self) -> dict[str, Tensor]:
        """Return torchvision-named weights on the CPU, float32, contiguous."""
        return {
            name: value.detach().cpu().contiguous().clone()
            for name, value in self.net.state_dict().items()
        }


def _fold_into_convolutions(module: nn.Module) -> None:
    """Fold each ``conv1, bn1`` of a block, and its downsampling branch."""
    for number in "123":
        if isinstance(norm := getattr(module, f"bn{number}", None), _BatchNorm):
            name = f"conv{number}"
            setattr(module, name, fuse_conv_bn_eval(getattr(module, name), norm))
            setattr(module, f"bn{number}", nn.Identity())
    if isinstance(downsample := getattr(module, "downsample", None), nn.Sequential):
        convolution, norm = downsample
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, _BatchNorm)
        module.downsample = nn.Sequential(fuse_conv_bn_eval(convolution, norm))


@dataclass(frozen=True)
class InitialWeights:
    """Weights that training starts from, loaded and checked once."""

    architecture: BackboneName
    source: str  # none, imagenet or a file
    state: Mapping[str, Tensor] | None  # None: random weights

    @classmethod
    def load(cls, architecture: BackboneName, source: str) -> "InitialWeights":
        """Load weights and check that they fit the architecture, except for the last layer.

        Args:
            architecture: the backbone's.
            source: ``none``, ``imagenet`` (torchvision's, from its hub or its cache), or a file: a
                state dict, or a checkpoint that holds one under ``state_dict`` or ``model``.

        Raises:
            DataError: the hub cannot be reached, or the file cannot be read or belongs to another
                network.
        """
        if source == "none":
            return cls(architecture, source, None)
        state = _from_hub(architecture) if source == "imagenet" else _from_file(Path(source))
        _check_fit(state, architecture, source)
        return cls(architecture, source, state)

    def apply(self, backbone: Backbone) -> str:
        """Copy the weights into a backbone; a last layer of another size is left unchanged.

        Returns:
            A one-line summary for the user.
        """
        if self.state is None:
            return f"{self.architecture} starts from random weights"
        current = backbone.net.state_dict()
        state = dict(self.state)
        new_last_layer = any(
            name not in state or state[name].shape != current[name].shape for name in LAST_LAYER
        )
        if new_last_layer:
            state |= {name: current[name] for name in LAST_LAYER}
        backbone.net.load_state_dict(state)
        line = f"{self.architecture} starts from {self.source}"
        if new_last_layer:
            line += f"; its last layer is new ({len(current['fc.bias'])} outputs)"
        return line


def _check_fit(state: Mapping[str, Tensor], architecture: BackboneName, source: str) -> None:
    """Compare names and shapes with those of the architecture, except for the last layer."""
    with torch.device("meta"):
        network = getattr(torchvision.models, architecture)(weights=None)
    expected = {name: t for name, t in network.state_dict().items() if name not in LAST_LAYER}
    missing = sorted(set(expected) - set(state))
    unknown = sorted(set(state) - set(expected) - set(LAST_LAYER))
    reshaped = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    kinds = ((missing, "missing"), (unknown, "unknown"), (reshaped, "of another shape"))
    differences = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for names, kind in kinds
        if names
    ]
    if differences:
        raise DataError(
            f"{source} does not hold the weights of a {architecture}",
            expected=f"torchvision's {architecture}",
            got="tensors that are " + ", ".join(differences),
            remedy="Name the network that they belong to with --backbone.",
        )


def _from_hub(architecture: BackboneName) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = torchvision.models.get_model_weights(
            architecture
        ).IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a bad hash a RuntimeError
        raise DataError(
            f"torchvision's hub did not deliver the ImageNet weights ({error})",
            remedy="Download them where there is a network and name the file: --weights PATH; "
            "or start from random weights: --weights none.",
        ) from error
    return state


def _from_file(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        run_weights = file / "backbone.pt"
        raise DataError(
            f"there are no weights {str(file)!r}",
            expected="none, imagenet or a file's path",
            remedy=f"Did you mean {run_weights}?" if run_weights.is_file() else "",
        )
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load fails in many ways on other files
        # Its message is left out: it suggests executing code that the file may contain.
        raise DataError(
            f"{file} cannot be read as weights",
            expected="a complete file of tensors only, saved by torch.save",
            remedy="Name such a file, for example a run's backbone.pt.",
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(torch.is_tensor(v) for v in content.values()):
        raise DataError(f"{file} is not a state dict", expected="tensors by name")
    return {str(name).removeprefix("module."): value for name, value in content.items()}
