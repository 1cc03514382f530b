"""Where and how networks run: device, precision, and the memory that batches come in."""

import sys
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from augrank.errors import DataError
from training.config import DeviceChoice, Precision

Arithmetic = Literal["fp32", "bf16", "fp16"]
TYPES: dict[Arithmetic, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True)
class Engine:
    """A device, and the numbers that it multiplies."""

    device: torch.device
    arithmetic: Arithmetic
    memory: "BatchMemory" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", BatchMemory(pinned=self.is_cuda))

    @classmethod
    def choose(cls, device: DeviceChoice, precision: Precision) -> "Engine":
        """Resolve ``auto``: CUDA where there is one, and the fastest numbers that are safe there.

        Those are bfloat16 where the hardware multiplies it, float16 on older GPUs, else float32.
        """
        available = torch.cuda.is_available()
        if device == "cuda" and not available:
            raise DataError(
                "CUDA is not available",
                expected="an NVIDIA GPU that this torch can use",
                remedy="Leave out --device, or give --device cpu.",
            )
        cuda = available and device != "cpu"
        if precision == "fp16" and not cuda:
            raise DataError(
                "--precision fp16 needs a GPU",
                expected="bf16 or fp32 on a CPU",
                remedy="Leave it out, and the fastest that is safe is taken.",
            )
        if precision != "auto":
            arithmetic: Arithmetic = precision
        elif cuda:
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            arithmetic = "bf16" if bf16 else "fp16"
        else:
            arithmetic = "bf16" if _cpu_multiplies_bf16() else "fp32"
        return cls(torch.device("cuda" if cuda else "cpu"), arithmetic)

    @property
    def name(self) -> str:
        """For reports: ``cpu, bf16``."""
        return f"{self.device.type}, {self.arithmetic}"

    @property
    def type(self) -> torch.dtype:
        """Of the numbers that are multiplied."""
        return TYPES[self.arithmetic]

    @property
    def is_cuda(self) -> bool:
        """Whether it is a GPU, which works while this process goes on."""
        return self.device.type == "cuda"

    def exact(self) -> "Engine":
        """The same device with float32."""
        return Engine(self.device, "fp32")

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """An array on the device; no copy on a CPU, no waiting on a GPU.

        For a GPU an array that is not of ``memory`` is copied to page-locked memory first.
        """
        tensor = torch.from_numpy(array)
        if self.is_cuda and not tensor.is_pinned():
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def autocast(self) -> AbstractContextManager[Any]:
        """The chosen numbers, where torch holds them to be safe."""
        return torch.autocast(self.device.type, self.type, enabled=self.arithmetic != "fp32")


def _cpu_multiplies_bf16() -> bool:
    """Whether it has instructions for that: AMX, or those of AVX-512."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def _references_of_a_free_one() -> int:
    """How many refer to an array of a list that nobody else knows: list, loop and question."""
    count = 0
    for array in [np.empty(0)]:
        count = sys.getrefcount(array)
    return count


FREE = _references_of_a_free_one()


class BatchMemory:
    """Arrays for batches, each used again when nothing refers to it any more.

    Fresh memory of this size comes from the kernel page by page, which costs as much as filling it.
    Where another shape is asked for, free arrays of the former one are let go: sides that grow from
    epoch to epoch would pile up. For a GPU it is page-locked, and torch itself keeps it until a
    copy from it is done.
    """

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self._kept: list[NDArray[Any]] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array; what it holds is undefined."""
        if self._pinned:
            kind = torch.from_numpy(np.empty(0, dtype)).dtype
            return torch.empty(shape, dtype=kind, pin_memory=True).numpy()
        with self._lock:
            used = []
            for array in self._kept:
                if sys.getrefcount(array) > FREE:
                    used.append(array)
                elif array.shape == shape and array.dtype == dtype:
                    return array
            self._kept = [*used, array := np.empty(shape, dtype)]
            return array
