"""Celery with Redis as its broker, and no store of results."""
