"""The app of operations that write a ledger, and of those that kill their process."""

from __future__ import annotations

from django.apps import AppConfig


class ChaosConfig(AppConfig):
    """Operations of the chaos suite. `tests.work` sets the log of their processes up."""

    name = "tests.chaos.work"
    label = "chaos"
    default_auto_field = "django.db.models.BigAutoField"
