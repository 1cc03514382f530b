"""The backbone: a network whose last layer answers what a task asks of an image."""

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.modules.batchnorm import _BatchNorm  # the base of SyncBatchNorm too
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from augrank.contracts.run import BackboneName
from augrank.errors import DataError
from training.backbone.architectures import ARCHITECTURES

# Of running statistics. Small networks come with 0.01, for hundreds of epochs: after the hundred
# steps of a short training, a third of their statistics would be of the initial weights.
NORM_MOMENTUM = 0.1


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that a CPU trains in float32 even where others compute in bfloat16.

    oneDNN has no fast bfloat16 kernels for its gradients: with strides, one takes ten times as
    long as in float32 and more than the rest of the network.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Convolve images, (N, C, H, W), in their own dtype or, in training, autocast's."""
        is_trained = torch.is_grad_enabled() and self.weight.requires_grad
        if not (is_trained and images.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(images)
        with torch.autocast("cpu", enabled=False):
            return super().forward(images.float()).to(torch.get_autocast_dtype("cpu"))


class Backbone(nn.Module):
    """Maps images to (features, logits). ``net`` is the library's, and so are its weights' names.

    Args:
        architecture: one of ``ARCHITECTURES``.
        outputs: number of logits, A.
        seed: of the initial weights.
    """

    def __init__(self, architecture: BackboneName, outputs: int, seed: int) -> None:
        super().__init__()
        self.architecture = ARCHITECTURES[architecture]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = self.architecture.build(outputs)
        for module in self.net.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = NORM_MOMENTUM
            elif type(module) is nn.Conv2d and module.groups == module.in_channels:
                module.__class__ = DepthwiseConv2d
        self.feature_width = self.architecture.width
        self.frozen = False

    @property
    def last(self) -> nn.Linear:
        """The last layer."""
        layer = self.net.get_submodule(self.architecture.last)
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Embed normalised images, float (N, 3, S, S): features (N, F) and logits (N, A)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.architecture.features(self.net, images)
        return features, self.last(features)

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits (N, A) from features (N, F), in float32 on the CPU."""
        layer = self.last
        with torch.inference_mode():
            return linear(torch.from_numpy(features), layer.weight.cpu(), layer.bias.cpu()).numpy()

    def freeze(self) -> None:
        """Train only the last layer from now on; running statistics are kept too."""
        self.frozen = True
        self.net.requires_grad_(False)
        self.last.requires_grad_(True)

    def unfreeze(self) -> None:
        """Train all of the network from now on."""
        self.frozen = False
        self.net.requires_grad_(True)

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
                _fold_block(module)
            elif isinstance(module, nn.Sequential):
                _fold_sequence(module)
        return copy

    def digest(self) -> str:
        """Hash the weights that features depend on: all but the last layer's."""
        digest = hashlib.sha256()
        for name, value in self.plain_state().items():
            if name not in self.architecture.last_layer:
                digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()

    def plain_state(self) -> dict[str, Tensor]:
        """Return the weights by the library's names, on the CPU, float32, contiguous."""
        return {
            name: value.detach().cpu().contiguous().clone()
            for name, value in self.net.state_dict().items()
        }


def _fold_block(module: nn.Module) -> None:
    """Fold each ``conv1, bn1`` of a ResNet's block."""
    for number in "123":
        if isinstance(norm := getattr(module, f"bn{number}", None), _BatchNorm):
            name = f"conv{number}"
            setattr(module, name, fuse_conv_bn_eval(getattr(module, name), norm))
            setattr(module, f"bn{number}", nn.Identity())


def _fold_sequence(layers: nn.Sequential) -> None:
    """Fold each normalisation that directly follows a convolution."""
    for number in range(len(layers) - 1):
        convolution, norm = layers[number], layers[number + 1]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, _BatchNorm):
            layers[number] = fuse_conv_bn_eval(convolution, norm)
            layers[number + 1] = nn.Identity()


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
            source: ``none``, ``imagenet`` (torchvision's, from its hub or its cache; those of
                efficientnet_lite0 from a package), or a file: a state dict, or a checkpoint that
                holds one under ``state_dict`` or ``model``.

        Raises:
            DataError: the hub cannot be reached, or the file cannot be read or belongs to another
                network.
        """
        if source == "none":
            return cls(architecture, source, None)
        pretrained = ARCHITECTURES[architecture].pretrained
        state = pretrained() if source == "imagenet" else _from_file(Path(source))
        _check_fit(state, architecture, source)
        return cls(architecture, source, state)

    def apply(self, backbone: Backbone) -> str:
        """Copy the weights into a backbone; a last layer of another size is left unchanged.

        Returns:
            A one-line summary for the user.
        """
        if self.state is None:
            return f"{self.architecture} starts from random weights"
        current, last_layer = backbone.net.state_dict(), backbone.architecture.last_layer
        state = dict(self.state)
        new_last_layer = any(
            name not in state or state[name].shape != current[name].shape for name in last_layer
        )
        if new_last_layer:
            state |= {name: current[name] for name in last_layer}
        backbone.net.load_state_dict(state)
        line = f"{self.architecture} starts from {self.source}"
        if new_last_layer:
            line += f"; its last layer is new ({backbone.last.out_features} outputs)"
        return line


def _check_fit(state: Mapping[str, Tensor], architecture: BackboneName, source: str) -> None:
    """Compare names and shapes with those of the architecture, except for the last layer."""
    with torch.device("meta"):
        network = ARCHITECTURES[architecture].build(1000)
    last_layer = ARCHITECTURES[architecture].last_layer
    expected = {name: t for name, t in network.state_dict().items() if name not in last_layer}
    missing = sorted(set(expected) - set(state))
    unknown = sorted(set(state) - set(expected) - set(last_layer))
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
            expected=f"the library's {architecture}",
            got="tensors that are " + ", ".join(differences),
            remedy="Name the network that they belong to with --backbone.",
        )


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
