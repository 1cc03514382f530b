"""The fp16 graph, for GPUs."""

import warnings
from pathlib import Path

import onnx


def write_fp16(fp32: Path, file: Path) -> None:
    """Convert weights and activations to float16, for GPUs; input and outputs stay float32.

    Args:
        fp32: the run's graph.
        file: the fp16 graph to write.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for every constant below fp16's smallest number
        model = convert_float_to_float16(onnx.load(fp32), keep_io_types=True)
    OnnxModel(model).topological_sort(is_deterministic=True)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString(deterministic=True))
