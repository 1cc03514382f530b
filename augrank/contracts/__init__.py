"""Contracts: schemas and names of the files that packages exchange, each defined once.

The schemas are built from the specs of images and models (augmentations, context columns, heads),
so this package may import those two, and the bundle imports this one.
"""
