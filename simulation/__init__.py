"""Worlds whose truth is known: rendered catalogues and engagement. Imports augrank alone."""
