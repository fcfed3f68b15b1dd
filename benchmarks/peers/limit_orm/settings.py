"""A project with one table."""

from benchmarks.peers.django_adapter import database

SECRET_KEY = "for benchmarks on one machine"
INSTALLED_APPS = ["benchmarks.peers.limit_orm"]
DATABASES = {"default": database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
