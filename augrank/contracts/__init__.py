"""What rooms of the project exchange through files, each schema and name defined once.

The schemas are made of the specs of images and models (augmentations, context columns, heads),
so this package stands above those two and below the bundle.
"""
