import numpy as np
import onnx
import torch
import torchvision

from augrank.models.backbone import Backbone
from training.graphs.onnx_graphs import EmbeddingNetwork, load_network


def test_the_graph_is_the_torch_model_for_any_batch(tiny_run, tiny_export):
    backbone = Backbone(tiny_export.bundle / "backbone-fp32.onnx", threads=2)
    net = load_network("resnet18", torch.load(tiny_run.run / "backbone.pt", weights_only=True))
    for count in (1, 5):
        batch = np.random.default_rng(count).normal(size=(count, 3, 48, 48)).astype(np.float32)
        with torch.no_grad():
            features, logits = net(torch.from_numpy(batch))
        got = backbone.embed(batch)
        assert np.allclose(got.features, features, atol=1e-4)
        assert np.allclose(got.logits, logits, atol=1e-4)
    assert (backbone.feature_width, backbone.augmentation_count) == (512, 6)


def test_the_graph_carries_no_traces_of_this_machine(tiny_export):
    raw = (tiny_export.bundle / "backbone-fp32.onnx").read_bytes()
    assert b".py" not in raw
    assert b"site-packages" not in raw
    assert not (tiny_export.bundle / "backbone-fp32.onnx.data").exists()
    assert onnx.load(tiny_export.bundle / "backbone-fp32.onnx").graph.input[0].name == "images"


def test_features_are_the_inputs_of_the_last_layer():
    torch.manual_seed(0)
    resnet = torchvision.models.resnet18(weights=None, num_classes=6).eval()
    images = torch.randn(3, 3, 64, 64)
    features, logits = EmbeddingNetwork(resnet)(images)
    assert features.shape == (3, 512)
    assert torch.equal(resnet.fc(features), logits)
    assert torch.equal(resnet(images), logits)
