"""A handler as in TorchServe's documentation: PIL and eager torch.

Written after the custom handlers of TorchServe's manual: a class with initialize, preprocess,
inference and postprocess, one request at a time. Every candidate takes a separate forward pass.
The candidates are augrank's, at working size, and so are the heads, so that both give the same
answers.
"""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from ts.torch_handler.base_handler import BaseHandler

from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.images.letterbox import letterbox
from augrank.models.context import ContextEncoder
from augrank.models.graph_names import FEATURES, LOGITS
from augrank.models.head import HeadRows
from augrank.trust.estimator import Estimator
from augrank.trust.posterior import ImageEffects
from benchmarks.common.network import torchvision_network, with_features


class DocumentedHandler(BaseHandler):
    """TorchServe's example of serving a torchvision classifier, with the heads added."""

    def initialize(self, context: Any) -> None:
        """Load the eager model, its weights and the heads."""
        folder = Path(context.system_properties["model_dir"])
        self.spec = load_bundle(folder / "bundle", RecommendSpec).spec
        network = torchvision_network(self.spec.backbone, len(self.spec.augmentations.names))
        network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
        self.model = with_features(network)
        self.encoder = ContextEncoder(self.spec.context)
        self.heads = {}
        for head in self.spec.graphs["fp32"].heads:  # what learned from its embeddings
            self.heads[head.target.name] = Estimator.load(head, folder / "bundle")
        self.to_tensor = torchvision.transforms.Compose(
            [
                torchvision.transforms.ToTensor(),
                torchvision.transforms.Normalize(self.spec.mean, self.spec.std),
            ]
        )
        self.initialized = True

    def preprocess(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Decode each request's image and compute its candidates."""
        requests = []
        for row in data:
            body: dict[str, Any] = row.get("data") or row["body"]
            image = Image.open(io.BytesIO(base64.b64decode(body["image"]))).convert("RGB")
            pixels = letterbox(np.asarray(image), self.spec.image_size)
            candidates = [
                self.to_tensor(Image.fromarray(augmentation.apply(pixels)))
                for augmentation in self.spec.augmentations.augmentations
            ]
            requests.append({**body, "candidates": candidates})
        return requests

    @torch.no_grad()
    def inference(self, data: list[dict[str, Any]]) -> list[list[float]]:
        """Run one forward pass for each candidate, and the head."""
        probabilities = []
        for request in data:
            head = self.spec.head(request["target"])
            context = self.encoder.encode(request["context"])
            outputs = [self.model(candidate.unsqueeze(0)) for candidate in request["candidates"]]
            rows = HeadRows(
                augmentation=np.arange(len(outputs)),
                logits=np.concatenate([output[LOGITS].numpy() for output in outputs]),
                features=np.concatenate([output[FEATURES].numpy() for output in outputs]),
                context=context,
            )
            draws = self.heads[head.target.name].candidates(rows, ImageEffects.unknown(1))
            probabilities.append(draws.mean(axis=0).tolist())
        return probabilities

    def postprocess(self, data: list[list[float]]) -> list[dict[str, Any]]:
        """Return the name and probability of every candidate, best first."""
        names = self.spec.augmentations.names
        return [
            {
                "candidates": [
                    {"name": name, "probability": score}
                    for score, name in sorted(zip(scores, names, strict=True), reverse=True)
                ]
            }
            for scores in data
        ]
