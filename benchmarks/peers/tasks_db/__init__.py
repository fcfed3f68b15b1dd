"""django-tasks-db: Django's own tasks, kept in a table."""
