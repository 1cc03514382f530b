"""AWS: boto3 clients, S3 folders, polling."""
