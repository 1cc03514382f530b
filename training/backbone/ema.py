"""EMA: the exponential moving average of the backbone's weights."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.backbone.model import Backbone

Tensors = tuple[Tensor, ...] | list[Tensor]


class Ema:
    """An exponential moving average (EMA), which often scores better than the weights themselves.

    The decay is warmed up as (1 + n) / (10 + n), n being the number of steps, so that the random
    initial weights are soon forgotten. Counters of batch normalisation are copied.

    Args:
        backbone: copied; its weights are the initial average.
        decay: weight of the former average, 0 to 1, once it is warmed up.
    """

    def __init__(self, backbone: Backbone, decay: float) -> None:
        self._decay = decay
        self._averaged = AveragedModel(backbone, multi_avg_fn=self._mix, use_buffers=True)
        self._averaged.requires_grad_(False).eval()
        self._steps = 0
        # AveragedModel would replace the initial weights in the first step.
        self._averaged.n_averaged.fill_(1)

    @property
    def backbone(self) -> Backbone:
        """The backbone with averaged weights, in evaluation mode."""
        return cast(Backbone, self._averaged.module)

    def update(self, backbone: Backbone) -> None:
        """Add the weights after an optimizer step."""
        self._steps += 1
        self._averaged.update_parameters(backbone)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"weights": self.backbone.plain_state(), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.backbone.net.load_state_dict(state["weights"])
        self._steps = state["steps"]

    def _mix(self, averages: Tensors, values: Tensors, _count: Tensor | int) -> None:
        """Mix tensors of one device and dtype in place.

        The steps are counted here, because to read ``_count`` would wait for the GPU.
        """
        if not averages[0].is_floating_point():
            torch._foreach_copy_(list(averages), list(values))
            return
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        mix = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        mix(averages, values, _count)
