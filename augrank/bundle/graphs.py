"""Which of a bundle's graphs runs on which device."""

import logging

from augrank.bundle.spec import Bundle, Precision
from augrank.models.backbone import Backbone
from augrank.models.engines import CPU, Device, uses_accelerator

logger = logging.getLogger(__name__)


def open_backbone(
    bundle: Bundle, precision: Precision | None, *, threads: int, device: Device, spin: bool
) -> tuple[Precision, Backbone]:
    """Open the graph of this precision; with None, what suits the device best.

    That is fp16 on an accelerator, where the bundle has it, and on a CPU what export chose by its
    parity gate, which may differ between onnxruntime and OpenVINO.
    """
    chosen = precision or _best(bundle, device)
    backbone = Backbone(bundle.graph(chosen), threads=threads, device=device, spin=spin)
    if precision is None and backbone.provider == CPU and chosen != bundle.spec.precision:
        # there is a GPU, but its driver or libraries cannot be used
        chosen = bundle.spec.precision
        backbone = Backbone(bundle.graph(chosen), threads=threads, device="cpu", spin=spin)
    return chosen, backbone


def _best(bundle: Bundle, device: Device) -> Precision:
    spec = bundle.spec
    if uses_accelerator(device):
        return "fp16" if "fp16" in spec.graphs else "fp32"
    if device == "openvino":
        if spec.openvino_precision is not None:
            return spec.openvino_precision
        logger.warning(
            "%s was exported without --openvino: its answers under OpenVINO were not compared "
            "with training",
            spec.name,
        )
    return spec.precision
