import numpy as np
import torch
import torchvision

from augrank.bundle.load import load_bundle
from augrank.models.backbone import Backbone
from benchmarks.serving.eager import eager_weights


def test_the_eager_network_is_the_graph(tiny_export):
    bundle = load_bundle(tiny_export.bundle)
    net = torchvision.models.resnet18(num_classes=6)
    net.load_state_dict(eager_weights(bundle))
    batch = np.random.default_rng(0).normal(size=(2, 3, 48, 48)).astype(np.float32)
    with torch.no_grad():
        want = net.eval()(torch.from_numpy(batch)).numpy()
    got = Backbone(bundle.graph("fp32"), threads=1, device="cpu").embed(batch).logits
    np.testing.assert_allclose(got, want, atol=1e-4)
