"""A bundle's backbone as the eager torch model it was exported from."""

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from augrank.bundle.recommend_spec import RecommendBundle

if TYPE_CHECKING:
    import torch

BATCH_NORM_EPS = 1e-5
STEM = {"0": "conv1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def eager_weights(bundle: RecommendBundle) -> "dict[str, torch.Tensor]":
    """torchvision's state_dict of the fp32 graph.

    Export folds each batch normalisation into its convolution. Here the convolution gets the folded
    weights and the batch normalisation only the bias, so the network has its usual layers, its
    usual cost and the same outputs.
    """
    import torch
    import torchvision

    graph = onnx.load(bundle.graph("fp32")).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    net = getattr(torchvision.models, bundle.spec.backbone)(
        num_classes=len(bundle.spec.augmentations.names)
    )
    state = net.state_dict()
    for node in graph.node:
        if node.op_type == "Conv":
            name = _layer(node.input[1])
            state[f"{name}.weight"] = torch.from_numpy(arrays[node.input[1]].copy())
            norm = _norm_of(name)
            bias = torch.from_numpy(arrays[node.input[2]].copy())
            state[f"{norm}.bias"] = bias
            state[f"{norm}.weight"] = torch.full_like(bias, float(np.sqrt(1 + BATCH_NORM_EPS)))
            state[f"{norm}.running_mean"] = torch.zeros_like(bias)
            state[f"{norm}.running_var"] = torch.ones_like(bias)
        elif node.op_type == "Gemm":
            for part, array in zip(("weight", "bias"), node.input[1:], strict=True):
                state[f"fc.{part}"] = torch.from_numpy(arrays[array].copy())
    return dict(state)


def _layer(weight: str) -> str:
    """``trunk.4.0.conv1.weight`` is torchvision's ``layer1.0.conv1``."""
    _, place, *rest = weight.removesuffix(".weight").split(".")
    return ".".join([STEM[place], *rest])


def _norm_of(convolution: str) -> str:
    """``layer1.0.conv1`` is followed by ``layer1.0.bn1``, ``downsample.0`` by ``downsample.1``."""
    if convolution.endswith("downsample.0"):
        return convolution[:-1] + "1"
    head, _, last = convolution.rpartition(".")
    return f"{head}.{last.replace('conv', 'bn')}".lstrip(".")
