"""Worlds whose truth is known: rendered catalogues and simulated engagement. Imports augrank alone."""
