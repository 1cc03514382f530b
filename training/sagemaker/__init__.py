"""Training and tuning as jobs on SageMaker: what is sent there, and what runs there."""
