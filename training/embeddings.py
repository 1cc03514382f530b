"""Features and logits of pictures, in one pass, kept for another run of the heads.

    CACHE/embeddings-1a2b3c4d.npz    by weights, pictures, augmentations and arithmetic

The pass runs in the precision of training, with normalisation folded into the convolutions:
bfloat16 is several times faster where the hardware multiplies it, and heads see features rounded
more coarsely than it rounds (see heads.py).
"""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.backbone import Backbone
from training.batches import Batches
from training.distributed import Team
from training.engine import Engine
from training.files import whole
from training.progress import Display
from training.samples import Samples


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings of distinct (file, augmentation) pairs, and where each pair stands."""

    features: NDArray[np.float32]  # (M, F)
    logits: NDArray[np.float32]  # (M, A)
    keys: NDArray[np.int64]  # (M,) sorted: file x augmentations + augmentation

    def rows(self, file: NDArray[np.int64], applied: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the pairs stand, int64 of the same shape.

        Raises:
            KeyError: a pair that was not embedded.
        """
        wanted = pair_keys(file, applied, self.logits.shape[1])
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        if not np.array_equal(self.keys[place], wanted):
            raise KeyError("a picture that was not embedded")
        return place


def pair_keys(
    file: NDArray[np.int64], applied: NDArray[np.int64], augmentations: int
) -> NDArray[np.int64]:
    """One number for each (file, augmentation)."""
    return file * augmentations + applied


def kept_table(file: Path, keys: NDArray[np.int64]) -> EmbeddingTable | None:
    """The table that an earlier call kept, if it holds just these pairs."""
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as stored:
        table = EmbeddingTable(stored["features"], stored["logits"], stored["keys"])
    return table if np.array_equal(table.keys, np.unique(keys)) else None


def keep_table(file: Path, table: EmbeddingTable) -> None:
    """Keep a table in place of former ones."""
    with whole(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, features=table.features, logits=table.logits, keys=table.keys)
    for former in file.parent.glob("embeddings-*.npz"):
        if former != file:
            former.unlink()


@torch.inference_mode()
def embed_all(
    backbone: Backbone,
    batches: Batches,
    keys: NDArray[np.int64],
    augmentations: int,
    *,
    engine: Engine,
    display: Display,
    team: Team = Team(),
    exact: bool = False,
) -> EmbeddingTable | None:
    """Embed pictures.

    Args:
        backbone: trained.
        batches: makes the pictures.
        keys: of ``pair_keys``, in any order, repeated at will.
        augmentations: how many there are.
        engine: where to run, and in which precision.
        display: shows progress.
        team: the processes that share the work.
        exact: the network as it is, in float32, which the parity gate builds on.

    Returns:
        The table; None in processes that do not lead.
    """
    kind = torch.float32 if exact else engine.type
    network = backbone.eval() if exact else backbone.folded().to(kind)
    keys = np.unique(keys)
    own = keys[team.share(len(keys))]
    samples = Samples(own // augmentations, own % augmentations, own % augmentations)
    features = np.empty((len(own), backbone.feature_width), np.float32)
    logits = np.empty((len(own), augmentations), np.float32)
    done = 0
    full = torch.backends.cudnn.flags(allow_tf32=False) if exact else nullcontext()
    with full, display.bar("Embedding", len(own), "pictures") as advance:
        for batch in batches.in_order(samples):
            part_features, part_logits = network(batch.to(kind))
            end = done + len(batch)
            features[done:end] = part_features.float().cpu().numpy()
            logits[done:end] = part_logits.float().cpu().numpy()
            done = end
            advance(len(batch))
    all_features, all_logits = team.gathered(features), team.gathered(logits)
    if all_features is None or all_logits is None:
        return None
    return EmbeddingTable(all_features, all_logits, keys)
