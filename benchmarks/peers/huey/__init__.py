"""huey: a small queue on SQLite, PostgreSQL or Redis."""
