"""Features and logits of images, in one pass.

The pass runs in the precision of training, with normalisation folded into the convolutions:
bfloat16 is several times faster where the hardware multiplies it, and heads see features rounded
more coarsely than it rounds (see heads.py).
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.backbone.loader import BatchLoader
from training.backbone.model import Backbone
from training.common.context import TrainContext
from training.data.samples import Samples

PIECE = 8192  # images between two looks of what keeps them


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings of distinct (file, augmentation) pairs, and where each pair stands."""

    features: NDArray[np.float32]  # (M, F)
    logits: NDArray[np.float32]  # (M, A)
    keys: NDArray[np.int64]  # (M,) sorted: file x augmentations + augmentation

    @classmethod
    def of(
        cls, backbone: Backbone, features: NDArray[np.float32], keys: NDArray[np.int64]
    ) -> "EmbeddingTable":
        """With the logits that the backbone's last layer makes of them."""
        return cls(features, backbone.logits(features), keys)

    def rows(self, file: NDArray[np.int64], applied: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the pairs stand, int64 of the same shape.

        Raises:
            KeyError: a pair that was not embedded.
        """
        wanted = pair_keys(file, applied, self.logits.shape[1])
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        if not np.array_equal(self.keys[place], wanted):
            raise KeyError("an image that was not embedded")
        return place


def pair_keys(
    file: NDArray[np.int64], applied: NDArray[np.int64], augmentations: int
) -> NDArray[np.int64]:
    """One number for each (file, augmentation)."""
    return file * augmentations + applied


def embed(
    backbone: Backbone,
    batches: BatchLoader,
    keys: NDArray[np.int64],
    augmentations: int,
    *,
    ctx: TrainContext,
    exact: bool = False,
) -> Iterator[tuple[slice, NDArray[np.float32] | None]]:
    """Features of images, piece by piece.

    Args:
        backbone: trained.
        batches: makes the images.
        keys: of ``pair_keys``.
        augmentations: how many there are.
        ctx: device, progress and the processes that share the work.
        exact: the network as it is, in float32, which the parity gate builds on.

    Yields:
        Which keys; their features, float32 (keys, F), None in processes that do not lead.
    """
    kind = torch.float32 if exact else ctx.device.dtype
    network = backbone.eval() if exact else backbone.folded().to(kind)
    parts = [slice(begin, min(begin + PIECE, len(keys))) for begin in range(0, len(keys), PIECE)]
    shares = [keys[part][ctx.world.shard(part.stop - part.start)] for part in parts]
    own = np.concatenate([*shares, np.empty(0, np.int64)])
    samples = Samples(own // augmentations, own % augmentations, own % augmentations)
    made_ahead, rest = batches.in_order(samples), np.empty((0, backbone.feature_width), np.float32)
    with ctx.reporter.bar("Embedding", len(keys), "images") as advance:
        for part, share in zip(parts, shares, strict=True):
            rows = [rest]
            as_it_is = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
            with as_it_is if exact else nullcontext(), torch.inference_mode():
                while sum(map(len, rows)) < len(share):
                    batch = next(made_ahead)
                    rows.append(network(batch.to(kind))[0].float().cpu().numpy())
                    advance(len(batch) * ctx.world.size)
            made = np.concatenate(rows)
            rest = made[len(share) :]
            yield part, ctx.world.gather(made[: len(share)])


def embed_all(
    backbone: Backbone,
    batches: BatchLoader,
    keys: NDArray[np.int64],
    augmentations: int,
    *,
    ctx: TrainContext,
    exact: bool = False,
) -> EmbeddingTable:
    """Embed images in one process; ``keys`` in any order, repeated at will, the rest as above."""
    keys = np.unique(keys)
    features = np.empty((len(keys), backbone.feature_width), np.float32)
    for part, made in embed(backbone, batches, keys, augmentations, ctx=ctx, exact=exact):
        features[part] = made
    return EmbeddingTable.of(backbone, features, keys)
