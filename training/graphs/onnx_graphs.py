"""The backbone as ONNX graphs."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch.nn.utils.fusion import fuse_conv_bn_eval

from augrank.contracts.run import BackboneName
from augrank.models.graph_names import FEATURES, INPUT, LOGITS
from training.backbone.architectures import ARCHITECTURES, Architecture

OPSET = 20
FLOAT_CONVOLUTIONS = 3  # of a network with depthwise convolutions: stem and first block


class EmbeddingNetwork(torch.nn.Module):
    """A network that returns its features beside its logits."""

    def __init__(self, architecture: Architecture, net: torch.nn.Module) -> None:
        super().__init__()
        self.architecture, self.net = architecture, net

    @property
    def outputs(self) -> int:
        """The number of logits, A."""
        return len(self.net.get_parameter(self.architecture.last_layer[1]))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed normalised images, float32 (N, 3, S, S): features (N, F) and logits (N, A)."""
        features = self.architecture.served_features(self.net, images)
        return features, self.net.get_submodule(self.architecture.last)(features)


def load_network(backbone: BackboneName, weights: Mapping[str, torch.Tensor]) -> EmbeddingNetwork:
    """Make a trained backbone in evaluation mode on the CPU, its batch norms in its convolutions.

    They end up there in the graph, too; to fold them first makes its export a third quicker.

    Args:
        backbone: the name of its architecture.
        weights: its state dict.
    """
    architecture = ARCHITECTURES[backbone]
    _, bias = architecture.last_layer
    net = architecture.build(len(weights[bias]))
    net.load_state_dict(weights)
    return EmbeddingNetwork(architecture, _fold_norms(net.eval())).eval()


def _fold_norms(net: torch.nn.Module) -> torch.nn.Module:
    """Fold every batch norm into the convolution that is registered before it."""
    modules = list(net.named_modules())
    for (name, convolution), (norm_name, norm) in pairwise(modules):
        if isinstance(norm, torch.nn.BatchNorm2d):
            assert isinstance(convolution, torch.nn.Conv2d), f"{norm_name} does not follow one"
            net.set_submodule(name, fuse_conv_bn_eval(convolution, norm))
            net.set_submodule(norm_name, torch.nn.Identity())
    return net


def write_fp32(network: EmbeddingNetwork, image_size: int, file: Path) -> None:
    """Export a network with a dynamic batch size; weights are stored in the file itself.

    Args:
        network: the result of ``load_network``.
        image_size: height and width of its input, in pixels.
        file: the graph to write.
    """
    weights = network.state_dict()
    model = onnx.ModelProto()
    model.CopyFrom(_traced(network.architecture, network.outputs, image_size))
    for initializer in model.graph.initializer:
        if initializer.name in weights:
            initializer.raw_data = weights[initializer.name].contiguous().numpy().tobytes()
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString(deterministic=True))


@cache
def _traced(architecture: Architecture, outputs: int, image_size: int) -> onnx.ModelProto:
    """Export an architecture without weights, once in a process: it takes seconds.

    Args:
        architecture: of the network.
        outputs: of its last layer.
        image_size: height and width of its input, in pixels.
    """
    with torch.random.fork_rng(devices=()):
        network = EmbeddingNetwork(architecture, _fold_norms(architecture.build(outputs).eval()))
        for weights in network.parameters():  # equal ones would become one in the graph
            torch.nn.init.uniform_(weights)
    example = torch.zeros(2, 3, image_size, image_size)
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[FEATURES, LOGITS],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None  # dynamo=True always returns a program
    model = program.model_proto
    _strip_metadata(model)
    left = {name for name, _ in network.named_parameters()}
    for weights in network.parameters():  # what torch keeps of the program refers to them
        weights.data = torch.empty(0)
    for initializer in model.graph.initializer:
        if initializer.name in left:
            left.remove(initializer.name)
            initializer.ClearField("raw_data")
    assert not left, f"the graph has no such weights: {left}"
    # A message keeps the memory of what was cleared in it; a new one does not have it.
    return onnx.ModelProto.FromString(model.SerializeToString())


def write_int8(fp32: Path, file: Path, batches: Iterator[NDArray[np.float32]]) -> None:
    """Quantize statically: QDQ, per channel, int8 weights, uint8 activations.

    Args:
        fp32: the graph of ``write_fp32``.
        file: the int8 graph to write.
        batches: normalised training images, float32 (N, 3, S, S), whose activations set the
            ranges. Noise would give other ranges than images.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(batches, None)
            return None if batch is None else {INPUT: batch}

    prepared = file.with_suffix(".prepared.onnx")
    with _quiet("root"):
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(file),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=_float_nodes(prepared),
            extra_options={
                "CalibMovingAverage": True,
                # Seven bits: without VNNI, sums of two products of eight bits overflow. Those of a
                # depthwise convolution are computed otherwise, and need all eight.
                "TensorQuantOverrides": {
                    name: [{"quant_type": QuantType.QInt8, "axis": 0, "reduce_range": True}]
                    for name in _dense_weights(prepared)
                },
            },
        )
    prepared.unlink()
    model = onnx.load(file)
    _strip_metadata(model)
    file.write_bytes(model.SerializeToString(deterministic=True))


def _float_nodes(file: Path) -> list[str]:
    """Return the nodes that are not quantized.

    The last layer is a thousandth of the work and determines the logits' precision. The first
    layers of a network with depthwise convolutions have few and very different channels: their
    rounding is a third of all of it, and they are a twentieth of the time.
    """
    graph = onnx.load(file).graph
    last = [node.name for node in graph.node if node.op_type in ("Gemm", "MatMul")]
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    if not any(map(_is_grouped, convolutions)):
        return last
    return last + [node.name for node in convolutions[:FLOAT_CONVOLUTIONS]]


def _dense_weights(file: Path) -> list[str]:
    """Return the weights of the quantized convolutions that are not depthwise."""
    left_out = {*_float_nodes(file)}
    return [
        node.input[1]
        for node in onnx.load(file).graph.node
        if node.op_type == "Conv" and node.name not in left_out and not _is_grouped(node)
    ]


def _is_grouped(node: onnx.NodeProto) -> bool:
    return any(each.name == "group" and each.i > 1 for each in node.attribute)


def _strip_metadata(model: onnx.ModelProto) -> None:
    """Remove stack traces and source file names, so that a run gives the same bytes anywhere."""
    del model.metadata_props[:]
    model.doc_string = ""
    graphs: list[Any] = [model.graph, *model.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        graph.doc_string = ""
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Silence the progress messages of libraries; ``root`` is the root logger."""
    loggers = [logging.getLogger(None if name == "root" else name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
