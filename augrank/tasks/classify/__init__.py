"""Task ``classify``: the labels of images, with calibrated probabilities, and what follows."""
