"""The device that networks run on, and its precision."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from augrank.errors import DataError
from training.config import DeviceChoice, Precision

if TYPE_CHECKING:
    import torch

# torch takes seconds to import, and a finished run is recognised without it, so the methods below
# import it when they are first called.

Arithmetic = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Arithmetic, str] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Device:
    """A CPU or GPU, and the precision of its matrix products (mixed precision, unless fp32)."""

    kind: Literal["cpu", "cuda"] = "cpu"
    precision: Arithmetic = "fp32"

    @classmethod
    def choose(cls, device: DeviceChoice, precision: Precision) -> "Device":
        """Resolve ``auto``: CUDA if available, and the fastest precision that is safe there.

        That is bfloat16 if the hardware supports it, float16 on older GPUs, else float32.

        Raises:
            DataError: the device does not exist, or does not support the precision.
        """
        import torch

        available = torch.cuda.is_available()
        if device == "cuda" and not available:
            raise DataError(
                "CUDA is not available",
                expected="an NVIDIA GPU that the installed torch supports",
                remedy="Leave out --device, or give --device cpu.",
            )
        cuda = available and device != "cpu"
        if precision == "fp16" and not cuda:
            raise DataError(
                "--precision fp16 needs a GPU",
                expected="bf16 or fp32 on a CPU",
                remedy="Leave it out to use the fastest precision that is safe.",
            )
        if precision != "auto":
            arithmetic: Arithmetic = precision
        elif cuda:
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            arithmetic = "bf16" if bf16 else "fp16"
        else:
            arithmetic = "bf16" if _cpu_multiplies_bf16() else "fp32"
        return cls("cuda" if cuda else "cpu", arithmetic)

    @property
    def name(self) -> str:
        """Device and precision, for reports: ``cpu, bf16``."""
        return f"{self.kind}, {self.precision}"

    @property
    def is_cuda(self) -> bool:
        """Whether this is a GPU, whose kernels run asynchronously."""
        return self.kind == "cuda"

    @property
    def torch_device(self) -> "torch.device":
        """The corresponding torch device."""
        import torch

        return torch.device(self.kind)

    @property
    def dtype(self) -> "torch.dtype":
        """The dtype of matrix products."""
        import torch

        dtype: torch.dtype = getattr(torch, DTYPES[self.precision])
        return dtype

    def in_fp32(self) -> "Device":
        """Return the same device with float32."""
        return Device(self.kind, "fp32")

    def tensor(self, array: NDArray[Any]) -> "torch.Tensor":
        """Copy an array to the device: no copy on a CPU, no waiting on a GPU.

        For a GPU, an array outside page-locked (pinned) memory is copied there first.
        """
        import torch

        tensor = torch.from_numpy(array)
        if self.is_cuda and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        return tensor.to(self.torch_device, non_blocking=True)

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision: ``dtype`` in the operations that torch considers safe."""
        import torch

        return torch.autocast(self.kind, self.dtype, enabled=self.precision != "fp32")


def _cpu_multiplies_bf16() -> bool:
    """Return whether the CPU has AMX or AVX-512 instructions for bfloat16."""
    import torch

    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
