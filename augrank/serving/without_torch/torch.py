"""Stands in for PyTorch in TorchServe's workers, whose answers are bytes.

TorchServe's worker imports torch to ask whether an answer is a tensor. PyTorch takes 290 MB of a
worker's own memory, and installed several GB. The runtime does not use it, so that a server on CPUs
needs none of it. On a GPU, workers import PyTorch itself where it is installed: with it come CUDA's
libraries, which onnxruntime needs.
"""

from typing import Never


class Tensor:
    """No answer is one."""


def __getattr__(name: str) -> Never:
    raise AttributeError(
        f"torch.{name}: augrank's workers do without PyTorch; serve other models with TorchServe's "
        "own command"
    )
