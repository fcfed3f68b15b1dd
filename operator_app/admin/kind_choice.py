"""The choice of a kind in a form."""

from __future__ import annotations

from typing import Any

from django.contrib.contenttypes.models import ContentType

from operator_app.models import kinds


def offer_kinds(form: Any) -> None:
    """Let the field `kind` of a form, if it has one, offer the kinds that are installed, by their
    labels. One query for the choices.
    """
    field = form.fields.get("kind")
    if field is not None:
        known = kinds.known_kinds("default")
        field.queryset = ContentType.objects.filter(pk__in=known).order_by("app_label", "model")
        field.label_from_instance = lambda kind: known[kind.pk]._meta.label
