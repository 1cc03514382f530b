"""From a run directory to what servers load: bundle, .mar, later model.tar.gz and endpoints."""
