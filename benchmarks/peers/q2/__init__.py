"""django-q2 with its ORM broker: a cluster of processes fed from a table."""
