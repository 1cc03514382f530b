"""Random operations on the service while it and its database are killed: nothing may be lost."""
