import urllib.error

import pytest
import torch
import torchvision

from augrank.errors import DataError
from training.backbone.architectures import ARCHITECTURES
from training.backbone.model import NORM_MOMENTUM, Backbone, DepthwiseConv2d, InitialWeights


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_forward_is_the_librarys_with_its_features(name):
    backbone = Backbone(name, 6, seed=0).eval()
    plain = backbone.architecture.build(6).eval()
    plain.load_state_dict(backbone.plain_state())
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features, logits = backbone(images)
        torch.testing.assert_close(logits, plain(images))
        torch.testing.assert_close(backbone.last(features), logits)
        ours = torch.from_numpy(backbone.logits(features.numpy()))
        torch.testing.assert_close(ours, logits)
    assert features.shape == (2, ARCHITECTURES[name].width)
    backbone.freeze()
    assert {n for n, w in backbone.net.named_parameters() if w.requires_grad} == {
        *ARCHITECTURES[name].last_layer
    }


def test_weights_are_drawn_by_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, again, other = (Backbone("resnet18", 6, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.net.conv1.weight, again.net.conv1.weight)
    assert not torch.equal(one.net.conv1.weight, other.net.conv1.weight)


def test_a_file_with_another_last_layer_is_loaded_and_reported(tmp_path):
    trained = torchvision.models.resnet18(num_classes=1000)
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "w.pt")
    backbone = Backbone("resnet18", 6, seed=0)
    last = backbone.net.fc.weight.clone()
    line = InitialWeights.load("resnet18", str(tmp_path / "w.pt")).apply(backbone)
    assert "its last layer is new (6 outputs)" in line
    assert torch.equal(backbone.net.conv1.weight, trained.conv1.weight)
    assert torch.equal(backbone.net.fc.weight, last)


def test_weights_that_do_not_fit_are_explained(tmp_path):
    backbone = Backbone("resnet18", 6, seed=0)
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "34.pt")
    with pytest.raises(DataError, match=r"not hold the weights of a resnet18.*unknown.*--backbone"):
        InitialWeights.load("resnet18", str(tmp_path / "34.pt")).apply(backbone)
    with pytest.raises(DataError, match="expected none, imagenet or a file's path"):
        InitialWeights.load("resnet18", str(tmp_path / "none.pt")).apply(backbone)
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(DataError, match="cannot be read as weights"):
        InitialWeights.load("resnet18", str(tmp_path / "text.pt")).apply(backbone)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read as weights") as caught:
        InitialWeights.load("resnet18", str(tmp_path / "run.json")).apply(backbone)
    assert "trust" not in str(caught.value)  # torch advises to run what a file may hold
    with pytest.raises(DataError, match="there are no weights") as caught:
        InitialWeights.load("resnet18", str(tmp_path)).apply(backbone)
    assert "Did you mean" not in str(caught.value)
    torch.save(backbone.plain_state(), tmp_path / "backbone.pt")
    with pytest.raises(DataError, match=f"Did you mean {tmp_path}/backbone.pt"):
        InitialWeights.load("resnet18", str(tmp_path)).apply(backbone)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(DataError, match="is not a state dict"):
        InitialWeights.load("resnet18", str(tmp_path / "list.pt")).apply(backbone)


def test_an_unreachable_hub_names_the_file_option(monkeypatch):
    def unreachable(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", unreachable)
    with pytest.raises(DataError, match="--weights PATH"):
        InitialWeights.load("resnet18", "imagenet")


def test_a_start_without_weights_is_reported_as_random():
    assert (
        InitialWeights.load("resnet18", "none")
        .apply(Backbone("resnet18", 6, seed=0))
        .endswith("starts from random weights")
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folded_normalisation_gives_the_same(architecture):
    backbone = Backbone(architecture, 6, seed=0)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after some training
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                torch.nn.init.uniform_(value, 0.5, 1.5)
    images = torch.rand(2, 3, 48, 48)
    folded = backbone.folded()
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())
    with torch.inference_mode():
        for ours, theirs in zip(folded(images), backbone.eval()(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_running_statistics_follow_within_a_short_training(architecture):
    backbone = Backbone(architecture, 2, seed=0)
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {NORM_MOMENTUM}


def test_depthwise_convolutions_of_bfloat16_networks_are_trained_in_float32():
    def gradient(precision):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            convolved = convolution(images)
        convolution.zero_grad()
        convolved.float().square().sum().backward()
        return convolved.dtype, convolution.weight.grad.clone()

    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 8, 9, 9, generator=generator).bfloat16().float()
    convolution = DepthwiseConv2d(8, 8, 3, stride=2, groups=8)
    (dtype, bf16), (_, fp32) = gradient("bf16"), gradient("fp32")
    assert dtype == torch.bfloat16
    # Only the convolution's result is rounded to bfloat16 (8 bits), not its weights.
    torch.testing.assert_close(bf16, fp32, rtol=2**-8, atol=2**-8)
    layers = [
        m for m in Backbone("efficientnet_lite0", 2, 0).modules() if type(m) is DepthwiseConv2d
    ]
    assert len(layers) == 16


def test_depthwise_convolutions_embed_in_the_precision_of_autocast(monkeypatch):
    dtypes = []
    backbone = Backbone("mobilenet_v3_large", 2, seed=0).eval()
    layer = next(m for m in backbone.modules() if type(m) is DepthwiseConv2d)
    convolve = layer._conv_forward

    def noted(images, weight, bias):
        dtypes.append((images.dtype, torch.is_autocast_enabled("cpu")))
        return convolve(images, weight, bias)

    monkeypatch.setattr(layer, "_conv_forward", noted)
    with torch.autocast("cpu", torch.bfloat16):
        backbone(torch.rand(1, 3, 32, 32))
        with torch.inference_mode():
            backbone(torch.rand(1, 3, 32, 32))
    assert dtypes == [(torch.float32, False), (torch.bfloat16, True)]
