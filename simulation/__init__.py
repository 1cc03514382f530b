"""Simulated data with a known ground truth: rendered catalogues and engagement."""
