"""A project with nothing but the tasks."""

from benchmarks.peers.adapter import is_best
from benchmarks.peers.django_adapter import database

SECRET_KEY = "for benchmarks on one machine"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_tasks_db"]
# The worker closes old connections around each task; by default that is a new one every time.
DATABASES = {"default": database(CONN_MAX_AGE=600 if is_best() else 0)}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
USE_TZ = True
