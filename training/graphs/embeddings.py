"""The embeddings of each graph, and its reference for the parity gate."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from augrank.contracts.run import Precision
from training.backbone.embed import (
    Embedder,
    EmbeddingTable,
    TorchEmbedder,
    embed_all,
    embed_dataset,
    pair_keys,
)
from training.backbone.loader import EVALUATION_BATCH
from training.backbone.train import TrainedBackbone
from training.common.context import TrainContext
from training.data.dataset import Dataset
from training.graphs.embedder import GraphEmbedder, lent_graph
from training.run.folder import save_reference

REFERENCE_IMAGES = 48
EmbeddedBy = Literal["torch", "cpu", "openvino"]


@dataclass(frozen=True)
class Embedded:
    """The embeddings of one graph."""

    precision: Precision
    device: EmbeddedBy
    table: EmbeddingTable | None  # None outside the main process


def embed_graph(
    data: Dataset,
    trained: TrainedBackbone,
    precision: Precision,
    keys: NDArray[np.int64],
    ctx: TrainContext,
    *,
    exact: bool = False,
) -> Embedded:
    """Embed images with a graph that ``write_graphs`` wrote; for fp32, with torch.

    torch has the GPU, if there is one, and computes in the precision of training.

    Args:
        data: the images.
        trained: the backbone.
        precision: of the graph.
        keys: of ``pair_keys``, sorted.
        ctx: device, progress, and the processes that share the work.
        exact: compute fp32 in float32, as servers do.
    """
    if precision == "fp32":
        torch_embedder = TorchEmbedder(trained.backbone, ctx.device, exact=exact)
        table = embed_dataset(data, trained, torch_embedder, keys, ctx)
        return Embedded(precision, "torch", table)
    with lent_graph(data.folder.graph(precision), ctx.world) as file:
        embedder = GraphEmbedder(file, ctx.threads)
        ctx.world.check_same(f"engine of the {precision} graph", embedder.digest)
        table = embed_dataset(data, trained, embedder, keys, ctx)
    return Embedded(precision, embedder.device, table)


def write_reference(
    data: Dataset, trained: TrainedBackbone, precision: Precision, ctx: TrainContext
) -> None:
    """Write embeddings of all candidates of some test images, in manifest order.

    Those of fp32 are torch's, in float32; those of another graph are its own.
    """
    count = len(data.augmentations.names)
    held_out = data.reference_files(REFERENCE_IMAGES)
    file = np.repeat(held_out, count).reshape(-1, count)
    applied = np.broadcast_to(np.arange(count), file.shape)
    keys = pair_keys(file, applied, count).ravel()
    ctx = TrainContext(device=ctx.device, threads=ctx.threads)  # in this process alone
    loader = trained.loader(data, EVALUATION_BATCH, ctx)
    embedder: Embedder = (
        TorchEmbedder(trained.backbone, ctx.device, exact=True)
        if precision == "fp32"
        else GraphEmbedder(data.folder.graph(precision), ctx.threads)
    )
    table = embed_all(embedder, trained.backbone, loader, keys, count, ctx)
    rows = table.rows(file, applied)
    paths = [data.manifest.files[number] for number in held_out]
    save_reference(
        data.folder.reference(precision), paths, table.features[rows], table.logits[rows]
    )
