"""Options of the exports that most tests need: one graph on one device, which is exact."""

from export.tasks.base import ExportOptions


def plain_options(name: str, *, sagemaker: bool = False) -> ExportOptions:
    """Return options of an export of fp32 under onnxruntime alone."""
    return ExportOptions(name, int8=False, devices=("cpu",), sagemaker=sagemaker)
