"""AWS's side of export: endpoints and batch transform, by plain boto3."""
