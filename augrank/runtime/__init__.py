"""The task-independent part of a model server's worker."""
