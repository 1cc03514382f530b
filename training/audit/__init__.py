"""Look at labelled images before training: likely label errors, duplicates, broken files."""
