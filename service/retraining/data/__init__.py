"""Versions of the dataset as files: rows, images, what they look like."""
