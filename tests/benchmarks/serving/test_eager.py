import numpy as np
import torch

from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.models.backbone import Backbone
from benchmarks.common.network import with_features
from benchmarks.serving.eager import eager_network


def test_the_eager_network_gives_what_the_graph_gives(tiny_export):
    bundle = load_bundle(tiny_export.bundle, RecommendSpec)
    network = eager_network(bundle)
    batch = np.random.default_rng(0).normal(size=(2, 3, 48, 48)).astype(np.float32)
    with torch.no_grad():
        logits = network(torch.from_numpy(batch)).numpy()
        embedding = with_features(network)(torch.from_numpy(batch))
    got = Backbone(bundle.graph("fp32"), threads=1, device="cpu").embed(batch)
    np.testing.assert_allclose(got.logits, logits, atol=1e-4)
    np.testing.assert_allclose(got.logits, embedding["logits"], atol=1e-4)
    np.testing.assert_allclose(got.features, embedding["features"], atol=1e-4)


def test_the_eager_network_has_its_usual_layers(tiny_export):
    network = eager_network(load_bundle(tiny_export.bundle, RecommendSpec))
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 20
    assert all(float(norm.running_var.min()) == 1.0 for norm in norms)
