"""The image files that were sent."""
