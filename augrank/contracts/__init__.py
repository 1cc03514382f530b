"""Contracts: schemas and names of the files that packages exchange, each defined once.

The schemas are made of the specs of images and models (augmentations, context columns, heads),
so this package stands above those two and below the bundle.
"""
