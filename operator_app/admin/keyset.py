"""Pages by the place in the order: "what comes after this row", and never "row 1,000,000 on".

An offset is walked through row by row, and moves under the reader's feet while rows come and go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import DateTimeField, Field, IntegerField, Model, Q, QuerySet

from operator_app.admin import guard
from operator_app.models.search import LARGEST_ID
from operator_app.moments import as_stored

BETWEEN: Final = "~"
"""Parts the values of a place."""


@dataclass(frozen=True)
class Key:
    """A column that rows are in the order of."""

    field: Field[Any, Any]
    descending: bool

    def reversed(self) -> Key:
        """Return the other direction."""
        return Key(self.field, not self.descending)

    def __str__(self) -> str:
        return f"{'-' if self.descending else ''}{self.field.name}"


@dataclass(frozen=True)
class Order:
    """A total order by columns that are never null, the primary key last."""

    keys: tuple[Key, ...]

    @classmethod
    def of(cls, queryset: QuerySet[Any]) -> Order | None:
        """Return the order of a queryset; None if it is not by numbers and times of the model that
        are never null, which is what a place can be told by.
        """
        keys: list[Key] = []
        for part in queryset.query.order_by:
            key = _key(queryset.model, part)
            if key is None:
                return None
            keys.append(key)
            if key.field.primary_key:
                return cls(tuple(keys))
        return None

    @property
    def is_by_id(self) -> bool:
        """Whether it is the order of the primary key alone."""
        return len(self.keys) == 1

    def place(self, row: Any) -> str:
        """Return the place of a row, as it stands in an address."""
        return BETWEEN.join(key.field.value_to_string(row) for key in self.keys)

    def parse(self, place: str) -> list[Any]:
        """Return the values of a place.

        Raises:
            ValidationError: for one that is none in this order.
        """
        parts = place.split(BETWEEN)
        if len(parts) != len(self.keys):
            raise ValidationError("A place has a value for each column of the order.")
        return [_value(key.field, part) for key, part in zip(self.keys, parts, strict=True)]

    def after(self, queryset: QuerySet[Any], place: Sequence[Any]) -> QuerySet[Any]:
        """Return what comes after a place, in this order."""
        further, same = Q(), Q()
        for key, value in zip(self.keys, place, strict=True):
            step = "lt" if key.descending else "gt"
            further |= same & Q(**{f"{key.field.name}__{step}": value})
            same &= Q(**{key.field.name: value})
        # Says what follows, in the form in which an index of the first column can begin there.
        first = f"{self.keys[0].field.name}__{'lte' if self.keys[0].descending else 'gte'}"
        return queryset.filter(further, **({} if self.is_by_id else {first: place[0]}))

    def before(self, queryset: QuerySet[Any], place: Sequence[Any]) -> QuerySet[Any]:
        """Return what comes before a place, the nearest first."""
        back = Order(tuple(key.reversed() for key in self.keys))
        return back.after(queryset, place).order_by(*map(str, back.keys))


def _key(model: type[Model], part: Any) -> Key | None:
    if not isinstance(part, str):
        return None
    name = part.removeprefix("-")
    primary: Any = model._meta.pk
    # Of a kind it is the link to the common table, which has the number under its own name.
    while primary.remote_field is not None:
        primary = primary.remote_field.model._meta.pk
    try:
        field = primary if name == "pk" else model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    if not isinstance(field, (IntegerField, DateTimeField)) or field.null:
        return None
    return Key(field, part.startswith("-"))


def _value(field: Field[Any, Any], text: str) -> Any:
    value = field.to_python(text)
    if isinstance(value, datetime):
        guard.check_moment(value)
        return as_stored(value)
    if value is None or not -LARGEST_ID <= value <= LARGEST_ID:
        raise ValidationError("A place is told by a number.")
    return value
