"""Embeddings: features and logits of images, in one pass.

The pass runs in the precision of training, with batch normalisation folded into the convolutions:
bfloat16 is several times faster where the hardware supports it, and heads round features more
coarsely than bfloat16 does (see ``training/heads``).
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

CHUNK = 8192  # images that are yielded together


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings of distinct (file, augmentation) pairs, with a key for each."""

    features: NDArray[np.float32]  # (M, F)
    logits: NDArray[np.float32]  # (M, A)
    keys: NDArray[np.int64]  # (M,) sorted: file x augmentations + augmentation

    @classmethod
    def from_features(
        cls, backbone: Backbone, features: NDArray[np.float32], keys: NDArray[np.int64]
    ) -> "EmbeddingTable":
        """Make a table with the logits that the backbone's last layer computes from features."""
        return cls(features, backbone.logits(features), keys)

    def rows(self, file: NDArray[np.int64], applied: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of pairs, int64 of the same shape.

        Raises:
            KeyError: a pair was not embedded.
        """
        wanted = pair_keys(file, applied, self.logits.shape[1])
        rows = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        if not np.array_equal(self.keys[rows], wanted):
            raise KeyError("an image that was not embedded")
        return rows


def pair_keys(
    file: NDArray[np.int64], applied: NDArray[np.int64], augmentations: int
) -> NDArray[np.int64]:
    """Return one number for each (file, augmentation) pair."""
    return file * augmentations + applied


def embed(
    backbone: Backbone,
    loader: BatchLoader,
    keys: NDArray[np.int64],
    augmentations: int,
    *,
    ctx: TrainContext,
    exact: bool = False,
) -> Iterator[tuple[slice, NDArray[np.float32] | None]]:
    """Compute features of images, chunk by chunk.

    Args:
        backbone: trained.
        loader: makes the images.
        keys: of ``pair_keys``.
        augmentations: number of augmentations.
        ctx: device, progress and the processes that share the work.
        exact: use the unfolded network in float32, which the parity gate compares with.

    Yields:
        Keys, and their features, float32 (keys, F), or None outside the main process.
    """
    world, dtype = ctx.world, torch.float32 if exact else ctx.device.dtype
    network = backbone.eval() if exact else backbone.folded().to(dtype)
    chunks = [slice(begin, min(begin + CHUNK, len(keys))) for begin in range(0, len(keys), CHUNK)]
    shards = [keys[chunk][world.shard(chunk.stop - chunk.start)] for chunk in chunks]
    own_keys = np.concatenate([*shards, np.empty(0, np.int64)])
    applied = own_keys % augmentations
    batches = loader.in_order(Samples(own_keys // augmentations, applied, applied))
    rest = np.empty((0, backbone.feature_width), np.float32)
    with ctx.reporter.bar("Embedding", len(keys), "images") as advance:
        for chunk, shard in zip(chunks, shards, strict=True):
            rows = [rest]
            no_tf32 = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
            with no_tf32 if exact else nullcontext(), torch.inference_mode():
                while sum(map(len, rows)) < len(shard):
                    ctx.threads.follow()
                    batch = next(batches)
                    rows.append(network(batch.to(dtype))[0].float().cpu().numpy())
                    advance(len(batch) * world.size)
            features = np.concatenate(rows)
            rest = features[len(shard) :]
            yield chunk, world.gather(features[: len(shard)])


def embed_all(
    backbone: Backbone,
    loader: BatchLoader,
    keys: NDArray[np.int64],
    augmentations: int,
    *,
    ctx: TrainContext,
    exact: bool = False,
) -> EmbeddingTable:
    """Embed images in one process.

    Args:
        backbone: trained.
        loader: makes the images.
        keys: of ``pair_keys``, in any order; duplicates are embedded once.
        augmentations: number of augmentations.
        ctx: device and progress.
        exact: as for ``embed``.
    """
    keys = np.unique(keys)
    features = np.empty((len(keys), backbone.feature_width), np.float32)
    for chunk, part in embed(backbone, loader, keys, augmentations, ctx=ctx, exact=exact):
        features[chunk] = part
    return EmbeddingTable.from_features(backbone, features, keys)
