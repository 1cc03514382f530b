"""Run directory to what servers load: bundle, .mar, model.tar.gz, SageMaker endpoint."""
