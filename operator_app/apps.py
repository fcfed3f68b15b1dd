"""The Django app."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class OperatorAppConfig(AppConfig):
    """Registers the system checks, and brings recurrences from code along with `migrate`."""

    name = "operator_app"
    verbose_name = _("Operator")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what Django calls."""
        from operator_app import checks  # noqa: F401  (imported for its side effect)

        post_migrate.connect(_synchronize, sender=self, dispatch_uid="operator_app_recurrences")


def _synchronize(*, using: str, **kwargs: Any) -> None:
    from operator_app.models import declared

    declared.synchronize(using)
