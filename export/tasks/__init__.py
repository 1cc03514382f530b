"""Build the bundle of each task: one module per task, named after the task."""
