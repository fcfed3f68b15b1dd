"""procrastinate: PostgreSQL with LISTEN/NOTIFY, one job fetched at a time."""
