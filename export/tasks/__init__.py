"""What a bundle of each task is made of: one module for each task, named like the task."""
