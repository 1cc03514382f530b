"""Downloads of images by URL: from public addresses only, at a limited rate per host."""
