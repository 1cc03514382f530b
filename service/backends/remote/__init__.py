"""Servers that answer: TorchServe, SageMaker."""
