"""pgqueuer: PostgreSQL with LISTEN/NOTIFY, jobs fetched and ended in batches, deleted when done."""
