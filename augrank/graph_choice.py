"""Which of a bundle's graphs runs on which device."""

from augrank.backbone import CPU, Backbone, Device, uses_accelerator
from augrank.bundle import Bundle, Precision


def open_backbone(
    bundle: Bundle, precision: Precision | None, *, threads: int, device: Device, spin: bool
) -> tuple[Precision, Backbone]:
    """Open the graph of this precision; with None, what suits the device best.

    That is fp16 on an accelerator, where the bundle has it, and on a CPU what export chose by its
    parity gate.
    """
    chosen = precision or _best(bundle, device)
    backbone = Backbone(bundle.graph(chosen), threads=threads, device=device, spin=spin)
    if precision is None and backbone.provider == CPU and chosen != bundle.spec.precision:
        # there is a GPU, but its driver or libraries cannot be used
        chosen = bundle.spec.precision
        backbone = Backbone(bundle.graph(chosen), threads=threads, device="cpu", spin=spin)
    return chosen, backbone


def _best(bundle: Bundle, device: Device) -> Precision:
    if not uses_accelerator(device):
        return bundle.spec.precision
    return "fp16" if "fp16" in bundle.spec.graphs else "fp32"
