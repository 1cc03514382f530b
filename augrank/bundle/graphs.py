"""Choose the graph of a bundle that suits a device, and open it."""

import logging

from augrank.bundle.spec import Bundle, BundleSpec, Precision
from augrank.models.backbone import Backbone
from augrank.models.engines import CPU, Device, uses_accelerator

logger = logging.getLogger(__name__)


def open_backbone(
    bundle: Bundle[BundleSpec],
    precision: Precision | None,
    *,
    threads: int,
    device: Device,
    spin: bool,
) -> tuple[Precision, Backbone]:
    """Open the graph of this precision; with None, the one that suits the device best.

    On an accelerator that is fp16, if the bundle has it. On a CPU it is the precision that export
    chose by its parity gate, which may differ between onnxruntime and OpenVINO.
    """
    chosen = precision or _best_precision(bundle.spec, device)
    backbone = Backbone(bundle.graph(chosen), threads=threads, device=device, spin=spin)
    if precision is None and backbone.provider == CPU and chosen != bundle.spec.precision:
        # the GPU's driver or libraries cannot be used
        chosen = bundle.spec.precision
        backbone = Backbone(bundle.graph(chosen), threads=threads, device="cpu", spin=spin)
    return chosen, backbone


def _best_precision(spec: BundleSpec, device: Device) -> Precision:
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
