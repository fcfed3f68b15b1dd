"""A project with nothing but the cluster."""

from benchmarks.peers.adapter import is_best
from benchmarks.peers.django_adapter import database

SECRET_KEY = "for benchmarks on one machine"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django_q",
]
DATABASES = {"default": database(CONN_MAX_AGE=600 if is_best() else 0)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
Q_CLUSTER = {"name": "bench", "orm": "default", "timeout": 50, "retry": 60}
if is_best():
    Q_CLUSTER |= {
        "workers": 2,
        "bulk": 100,
        "queue_limit": 500,
        "poll": 0.01,
        "recycle": 100_000,
        "save_limit": -1,
        "log_level": "WARNING",
    }
