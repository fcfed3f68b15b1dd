"""chancy: PostgreSQL, queues declared as rows, executors of several sorts."""
