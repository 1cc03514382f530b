"""Export a run directory for servers: bundle, .mar, model.tar.gz, SageMaker endpoint."""
