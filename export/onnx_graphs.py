"""The backbone as ONNX graphs: fp32, fp16, and int8 calibrated on training images."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torchvision
from numpy.typing import NDArray

from augrank.contracts.recommend_run import RecommendRun
from augrank.errors import DataError
from augrank.models.engines import FEATURES, INPUT, LOGITS
from export.run_reader import Run

OPSET = 20


class EmbeddingNet(torch.nn.Module):
    """A ResNet that gives its pooled features beside its logits."""

    def __init__(self, resnet: torch.nn.Module) -> None:
        super().__init__()
        layers = list(resnet.children())
        self.trunk, self.fc = torch.nn.Sequential(*layers[:-1]), layers[-1]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised images (N, 3, S, S) to features (N, F) and logits (N, A)."""
        features = torch.flatten(self.trunk(images), 1)
        return features, self.fc(features)


def load_torch_model(run: Run) -> EmbeddingNet:
    """The trained backbone, in evaluation mode on the CPU."""
    record = run.record
    resnet = getattr(torchvision.models, record.backbone)(
        weights=None, num_classes=len(record.augmentations.names)
    )
    try:
        resnet.load_state_dict(torch.load(run.weights, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{run.weights} does not hold a {record.backbone}: {error}", remedy="Train again."
        ) from error
    return EmbeddingNet(resnet).eval()


def write_fp32(run: Run, file: Path) -> None:
    """Export the backbone with a dynamic batch, weights inside, no traces of this machine."""
    size = run.record.image_size
    example = torch.zeros(2, 3, size, size)
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            load_torch_model(run),
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[FEATURES, LOGITS],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None  # as dynamo=True always gives a program
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString(deterministic=True))


def write_fp16(fp32: Path, file: Path) -> None:
    """Halve weights and activations, for GPUs; images and embeddings stay float32.

    Args:
        fp32: the graph of ``write_fp32``.
        file: where the fp16 graph goes.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names every constant that it rounds to fp16's least
        model = convert_float_to_float16(onnx.load(fp32), keep_io_types=True)
    OnnxModel(model).topological_sort(is_deterministic=True)
    _strip(model)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString(deterministic=True))


def write_int8(fp32: Path, file: Path, batches: Iterator[NDArray[np.float32]]) -> None:
    """Quantize statically: QDQ, per channel, int8 weights, uint8 activations.

    Args:
        fp32: the graph of ``write_fp32``.
        file: where the int8 graph goes.
        batches: normalised training candidates, float32 (N, 3, S, S), whose activations set the
            ranges. Never noise: ranges of noise are not those of images.
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
            # The last layer is a thousandth of the work and all of the logits' precision.
            nodes_to_exclude=_gemm_nodes(prepared),
            extra_options={"CalibMovingAverage": True},
        )
    prepared.unlink()
    model = onnx.load(file)
    _strip(model)
    file.write_bytes(model.SerializeToString(deterministic=True))


def calibration_images(record: RecommendRun, training_images: int) -> int:
    """Training originals to calibrate on: about 200 candidates, never more than there are."""
    return min(training_images, max(8, 200 // len(record.augmentations.names)))


def _gemm_nodes(file: Path) -> list[str]:
    return [node.name for node in onnx.load(file).graph.node if node.op_type in ("Gemm", "MatMul")]


def _strip(model: onnx.ModelProto) -> None:
    """Remove stack traces and names of source files: the same run gives the same bytes anywhere."""
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


class _quiet:
    """Keep libraries' progress notes out of ours."""

    def __init__(self, *names: str) -> None:
        self._loggers = [logging.getLogger(None if n == "root" else n) for n in names]

    def __enter__(self) -> None:
        self._levels = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for logger, level in zip(self._loggers, self._levels, strict=True):
            logger.setLevel(level)
