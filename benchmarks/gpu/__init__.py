"""One visit to a GPU machine: the rows that need one, in order of worth, within minutes."""
