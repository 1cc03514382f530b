"""The part of a model server's worker that is the same for every task."""
