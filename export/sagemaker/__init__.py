"""SageMaker endpoints and batch transform, with plain boto3."""
