"""The choice of a kind in a form."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.contenttypes.models import ContentType

from operator_app.models import kinds


class KindForm(forms.ModelForm):  # type: ignore[type-arg]
    """Offers, for the field `kind`, the kinds that are installed, by their labels. One query for
    the choices.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Not there for those who may only look.
        field: Any = self.fields.get("kind")
        if field is not None:
            known = kinds.known_kinds("default")
            rows = ContentType.objects.filter(pk__in=known)
            field.queryset = rows.order_by("app_label", "model")
            field.label_from_instance = lambda kind: known[kind.pk]._meta.label
