"""The fields of an operation's kind on the page of all kinds, related rows as links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import display_for_field
from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.text import capfirst
from django.utils.translation import gettext

from operator_app.admin import display, sensitive
from operator_app.models import Operation
from operator_app.models.facts import MASK
from operator_app.models.guards import engine_names

RELATED_SHOWN: Final = 20
"""How many rows of a many-to-many field are named."""


class OwnField(NamedTuple):
    """A field of the kind, as it is shown."""

    label: str
    value: Any


def of(site: AdminSite, request: HttpRequest, instance: Operation) -> Iterator[OwnField]:
    """Yield the kind's own fields of an operation, the sensitive ones masked. One query for each
    foreign key and many-to-many field.
    """
    meta = type(instance)._meta
    hidden = sensitive.hidden_fields(site, type(instance))
    for field in (*meta.concrete_fields, *meta.many_to_many):
        if field.name in engine_names() or _is_parent_link(field):
            continue
        value = MASK if field.name in hidden else _value(site, request, instance, field)
        yield OwnField(capfirst(str(field.verbose_name)), value)


def may_open(site: AdminSite, request: HttpRequest, row: models.Model) -> bool:
    """Whether the user may open the page of a row, if it has one. No queries but for the user's
    permissions, the first time.
    """
    if not site.is_registered(type(row)):
        return False
    return site.get_model_admin(type(row)).has_view_or_change_permission(request, row)


def related(site: AdminSite, request: HttpRequest, row: models.Model) -> Any:
    """Return the name of a row, as a link to its page for those who may open it."""
    return display.link(site, row, str(row)) if may_open(site, request, row) else str(row)


def _value(site: AdminSite, request: HttpRequest, instance: Operation, field: Any) -> Any:
    if field.many_to_many:
        rows = list(getattr(instance, field.name).all()[: RELATED_SHOWN + 1])
        names = [related(site, request, row) for row in rows[:RELATED_SHOWN]]
        more = ["…"] if len(rows) > RELATED_SHOWN else []
        return format_html_join(", ", "{}", ((name,) for name in (*names, *more)))
    try:
        value = getattr(instance, field.name)
    except models.ObjectDoesNotExist:
        # A foreign key without a constraint, whose row is gone.
        value = getattr(instance, field.attname)
        return display.NOTHING if value is None else f"{value} ({gettext('gone')})"
    if isinstance(value, models.Model):
        return related(site, request, value)
    shown = display_for_field(value, field, display.NOTHING)
    if isinstance(field, models.JSONField) and value is not None:
        return format_html('<code class="operator-json">{}</code>', shown)
    return shown


def _is_parent_link(field: Any) -> bool:
    remote = getattr(field, "remote_field", None)
    return bool(remote and getattr(remote, "parent_link", False))
