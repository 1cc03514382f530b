"""The same runtime behind other servers, each written as its own documentation advises."""
