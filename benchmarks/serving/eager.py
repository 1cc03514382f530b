"""A bundle's backbone as an eager torchvision network."""

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from augrank.bundle.recommend_spec import RecommendBundle
from benchmarks.common.network import torchvision_network

BATCH_NORM_EPS = 1e-5


def eager_network(bundle: RecommendBundle) -> nn.Module:
    """Build torchvision's network with the weights of the bundle's fp32 graph.

    Export folds each batch normalisation into the convolution before it. Here the convolution gets
    the folded weights and the batch normalisation only the bias, so that the network has its usual
    layers, its usual cost and the same outputs. A ResNet runs its convolutions in the order of its
    modules, and the graph keeps that order.

    Raises:
        ValueError: the graph has another number of convolutions.
        RuntimeError: a weight has another shape.
    """
    graph = onnx.load(bundle.graph("fp32")).graph
    tensors = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in graph.initializer
    }
    network = torchvision_network(bundle.spec.backbone, len(bundle.spec.augmentations.names))
    state: dict[str, Tensor] = dict(network.state_dict())
    for inputs, convolution, norm in zip(
        [node.input for node in graph.node if node.op_type == "Conv"],
        _names(network, nn.Conv2d),
        _names(network, nn.BatchNorm2d),
        strict=True,
    ):
        state[f"{convolution}.weight"] = tensors[inputs[1]]
        if len(inputs) > 2:  # export leaves out a bias of zeros
            state[f"{norm}.bias"] = tensors[inputs[2]]
        unit = float(np.sqrt(1 + BATCH_NORM_EPS))  # times 1 / sqrt(variance 1 + eps)
        state[f"{norm}.weight"] = torch.full_like(state[f"{norm}.weight"], unit)
    (last,) = (node for node in graph.node if node.op_type == "Gemm")
    state["fc.weight"], state["fc.bias"] = (tensors[name] for name in last.input[1:])
    network.load_state_dict(state)
    return network


def _names(network: nn.Module, kind: type[nn.Module]) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, kind)]
