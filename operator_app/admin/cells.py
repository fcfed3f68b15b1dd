"""What a column shows of an operation, where a table is not made by Django's own list."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import display_for_field, display_for_value, lookup_field
from django.core.exceptions import ObjectDoesNotExist

from operator_app.admin import display
from operator_app.models import Operation


def shown(pages: Any, name: str, operation: Operation) -> Any:
    """Return what a column shows, as Django's list does. No queries but those of the column.

    Args:
        pages: the model admin or the inline, which may have a method of that name.
        name: of the column, as in `list_display`.
        operation: whose row it is.
    """
    try:
        field, attribute, value = lookup_field(name, operation, pages)
    except ObjectDoesNotExist:
        return display.NOTHING
    if field is None:
        boolean = getattr(attribute, "boolean", False)
        return display_for_value(value, display.NOTHING, boolean)
    if field.is_relation:
        return display.NOTHING if value is None else str(value)
    return display_for_field(value, field, display.NOTHING)
