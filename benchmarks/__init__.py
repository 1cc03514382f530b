"""Times training and serving. May start anything; nobody imports it."""
