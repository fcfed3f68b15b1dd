"""The Django app."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class OperatorAppConfig(AppConfig):
    """Registers the system checks; brings permissions, and recurrences from code, along with
    `migrate`.
    """

    name = "operator_app"
    verbose_name = _("Operator")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what Django calls."""
        from operator_app import checks  # noqa: F401  (imported for its side effect)

        post_migrate.connect(_synchronize, sender=self, dispatch_uid="operator_app_recurrences")
        post_migrate.connect(_permit, dispatch_uid="operator_app_permissions")


def _synchronize(*, using: str, **kwargs: Any) -> None:
    from operator_app.models import declared

    declared.synchronize(using)


def _permit(*, app_config: AppConfig, using: str, **options: Any) -> None:
    from operator_app import renames
    from operator_app.models import permissions

    apps = {"apps": options["apps"]} if "apps" in options else {}
    # Before the missing ones are made: those of a renamed kind are not missing.
    for new, old in renames.renamed(options.get("plan") or (), app_config.label).items():
        permissions.carry(old, new, using=using, **apps)
    permissions.create(app_config, using=using, **options)
