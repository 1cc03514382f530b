"""The service under load: cached and new images, fixes, batches, promotion."""
