"""Augmentations of images, shared by training and serving.

An augmentation is data: a name and a list of steps, each an operation with exact parameters. A set
of augmentations has a hash, which the bundle carries. The same image, augmentation and seed give
the same bytes everywhere.
"""

from augrank.images.augmentations.operations import OPERATIONS_VERSION
from augrank.images.augmentations.sets import augmentation_set
from augrank.images.augmentations.spec import ORIGINAL, Augmentation, AugmentationSet, Step

__all__ = [
    "OPERATIONS_VERSION",
    "ORIGINAL",
    "Augmentation",
    "AugmentationSet",
    "Step",
    "augmentation_set",
]
