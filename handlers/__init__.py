"""Thin adapters from a model server's call to augrank, one file per server entry point."""
