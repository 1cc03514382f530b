"""The database of the service: SQLite by default, PostgreSQL for more."""
