import numpy as np
import onnx
import pytest
import torch

from augrank.models.backbone import Backbone as Served
from training.backbone.architectures import ARCHITECTURES
from training.graphs.onnx_graphs import EmbeddingNetwork, load_network, write_fp32, write_int8


def test_the_graph_is_the_torch_model_for_any_batch(tiny_run, tiny_export):
    backbone = Served(tiny_export.bundle / "backbone-fp32.onnx", threads=2)
    net = load_network("resnet18", torch.load(tiny_run.run / "backbone.pt", weights_only=True))
    for count in (1, 5):
        batch = np.random.default_rng(count).normal(size=(count, 3, 48, 48)).astype(np.float32)
        with torch.no_grad():
            features, logits = net(torch.from_numpy(batch))
        got = backbone.embed(batch)
        assert np.allclose(got.features, features, atol=1e-4)
        assert np.allclose(got.logits, logits, atol=1e-4)
    assert (backbone.feature_width, backbone.augmentation_count) == (512, 6)


def test_each_network_of_a_process_has_its_own_weights(tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = load_network("resnet18", ARCHITECTURES["resnet18"].build(6).state_dict())
        write_fp32(network, 32, file := tmp_path / f"{seed}.onnx")
        with torch.no_grad():
            features, logits = network(torch.from_numpy(images))
        got = Served(file, threads=1, device="cpu").embed(images)
        np.testing.assert_allclose(got.features, features, atol=1e-4)
        np.testing.assert_allclose(got.logits, logits, atol=1e-4)


def test_the_graph_carries_no_traces_of_this_machine(tiny_export):
    file = tiny_export.bundle / "backbone-fp32.onnx"
    assert not file.with_name("backbone-fp32.onnx.data").exists()
    model = onnx.load(file)
    assert model.graph.input[0].name == "images"
    # Among 44 MB of weights any three letters come up by chance; what is looked for is text.
    for weights in model.graph.initializer:
        assert weights.raw_data
        weights.ClearField("raw_data")
    text = model.SerializeToString()
    assert len(text) < 100_000
    assert b".py" not in text
    assert b"site-packages" not in text


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_features_are_the_inputs_of_the_last_layer(name):
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    net = architecture.build(6).eval()
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        features, logits = EmbeddingNetwork(architecture, net).eval()(images)
        assert features.shape == (3, architecture.width)
        assert torch.equal(net.get_submodule(architecture.last)(features), logits)
        assert torch.equal(net(images), logits)


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "efficientnet_lite0"])
def test_every_architecture_is_written_as_fp32_and_int8(tmp_path, name):
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    net = architecture.build(6)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # none is the identity, as after training
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    write_fp32(load_network(name, net.state_dict()), 64, tmp_path / "fp32.onnx")
    images = np.random.default_rng(0).normal(size=(12, 3, 64, 64)).astype(np.float32)
    write_int8(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", iter([images]))
    with torch.no_grad():
        plain = EmbeddingNetwork(architecture, net).eval()
        expected = plain(torch.from_numpy(images))[0].numpy()
    for precision, least in {"fp32": 0.99999, "int8": 0.9}.items():
        graph = Served(tmp_path / f"{precision}.onnx", threads=1, device="cpu")
        got = graph.embed(images)
        assert got.features.shape == (12, ARCHITECTURES[name].width)
        cosine = np.sum(got.features * expected, 1)
        cosine /= np.linalg.norm(got.features, axis=1) * np.linalg.norm(expected, axis=1)
        assert cosine.min() > least
