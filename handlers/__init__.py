"""Thin adapters from a model server's call to ``augrank.runtime``, one file per task."""
