"""The Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OperatorAppConfig(AppConfig):
    """Registers the system checks; does nothing else at start-up."""

    name = "operator_app"
    verbose_name = _("Operator")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the checks, so that their decorators register them."""
        from operator_app import checks  # noqa: F401  (imported for its side effect)
