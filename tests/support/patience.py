"""How long tests wait for what must happen."""

PATIENCE_S = 600  # on the slowest machine; costs nothing where it happens
