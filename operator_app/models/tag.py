"""The tags of operations whose kind names its own."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

TAG_LENGTH: Final = 100


class OperationTag(models.Model):
    """A tag of one operation. Stored only where a kind overrides `tags()`: the default tags follow
    from the row itself.
    """

    id = models.BigAutoField(primary_key=True)
    operation = models.ForeignKey(
        "operator_app.Operation", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    name = models.CharField(_("tag"), max_length=TAG_LENGTH)

    class Meta:
        verbose_name = _("tag")
        verbose_name_plural = _("tags")
        constraints = [
            models.UniqueConstraint(fields=["operation", "name"], name="operator_app_tag_once"),
        ]
        indexes = [models.Index(fields=["name"], name="operator_app_tag_name")]

    def __str__(self) -> str:
        return self.name
