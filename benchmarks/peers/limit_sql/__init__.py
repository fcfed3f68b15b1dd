"""What PostgreSQL allows: claim and end, and nothing else, in plain SQL."""
