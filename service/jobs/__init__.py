"""Work that goes on after its request was answered: rows of a table, no broker."""
