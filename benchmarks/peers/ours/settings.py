"""A project with nothing but the operator, and the database as the README has it."""

from benchmarks.peers.django_adapter import database

SECRET_KEY = "for benchmarks on one machine"
INSTALLED_APPS = ["django.contrib.contenttypes", "operator_app", "benchmarks.peers.ours"]
DATABASES = {"default": database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
