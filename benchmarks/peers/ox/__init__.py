"""django-ox: Django's own tasks, kept in a table, with leases and retries."""
