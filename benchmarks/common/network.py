"""The unmodified torchvision networks that augrank is compared with."""

import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from augrank.models.graph_names import FEATURES, LOGITS


def torchvision_network(backbone: str, classes: int) -> nn.Module:
    """Build a network with random weights, in evaluation mode.

    Args:
        backbone: torchvision's name of the network.
        classes: width of the last layer.
    """
    network: nn.Module = torchvision.models.get_model(backbone, weights=None, num_classes=classes)
    return network.eval()


def with_features(network: nn.Module) -> nn.Module:
    """Make a network return its pooled features and its logits.

    Normalised images, float32 (N, 3, S, S), give a dict of ``features`` (N, F) and ``logits``
    (N, classes).
    """
    extractor: nn.Module = create_feature_extractor(network, {"flatten": FEATURES, "fc": LOGITS})
    return extractor
