"""Times training and serving, here and on AWS. May start anything; nobody imports it."""
