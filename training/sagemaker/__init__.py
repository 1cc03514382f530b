"""Training and tuning jobs on SageMaker: submission, and the entry point in the container."""
