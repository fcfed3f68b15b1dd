"""Checks of the recurrences that kinds declare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

from operator_app.checks.installed import kinds_of
from operator_app.models import Operation, arguments
from operator_app.models.declared import all_declared, declarations
from operator_app.models.recurrence import NAME_LENGTH
from operator_app.recurring import Recurring


@register("operator_app")
def check_recurrences(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check what kinds declare: its type, its names, its fields. No queries; whether a foreign key
    has its row is known when an operation is made.
    """
    found: list[CheckMessage] = []
    for kind in kinds_of(app_configs):
        found += problems_of(kind)
    return found


def problems_of(kind: type[Operation]) -> Iterator[CheckMessage]:
    """Yield what is wrong with the recurrences of a kind."""
    listed: list[object] = [*declarations(kind)]
    for each in listed:
        if not isinstance(each, Recurring):
            yield _error(
                kind,
                f"{kind._meta.label}.recurrences has {each!r}, which is no Recurring.",
                'Write recurrences = [Recurring("0 3 * * *")].',
            )
            return
    for declared in declarations(kind):
        name = declared.name or kind._meta.label
        if len(name) > NAME_LENGTH:
            yield _error(kind, f"The name {name!r} is longer than {NAME_LENGTH}.", "Shorten it.")
        others = [model._meta.label for other, model, _ in all_declared() if other == name]
        if len(others) > 1:
            yield _error(
                kind,
                f"{len(others)} recurrences have the name {name!r}: of {', '.join(others)}.",
                "Give each one a name of its own: Recurring(..., name='...').",
            )
        try:
            arguments.check_fields(kind, dict(declared.fields))
        except TypeError as error:
            yield _error(kind, f"The recurrence {name!r}: {error}", "Correct its fields.")


def _error(kind: type[Operation], message: str, hint: str) -> CheckMessage:
    return Error(message, hint=hint, obj=kind, id="operator_app.E015")
