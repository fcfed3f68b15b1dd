"""The app of sample operations."""

from django.apps import AppConfig


class KindsConfig(AppConfig):
    """Sample operations for the tests."""

    name = "tests.kinds"
    label = "kinds"
    default_auto_field = "django.db.models.BigAutoField"
