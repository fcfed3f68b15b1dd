"""Checks of the recurrences that kinds declare."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

from operator_app.checks.installed import kinds_of
from operator_app.models import Operation, arguments, kinds
from operator_app.models.declared import as_written
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
    if wrong := _wrong_type(as_written(kind)):
        yield _error(
            kind,
            f"{kind._meta.label}.recurrences {wrong}.",
            'Write recurrences = [Recurring("0 3 * * *")].',
        )
        return
    for declared in as_written(kind):
        name = declared.name or kind._meta.label
        if len(name) > NAME_LENGTH:
            yield _error(kind, f"The name {name!r} is longer than {NAME_LENGTH}.", "Shorten it.")
        others = _named(name)
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


def _wrong_type(written: object) -> str:
    """Return why these are no recurrences, empty if they are."""
    # What can be walked through once only would be empty the next time.
    if isinstance(written, (str, bytes)) or not isinstance(written, Collection):
        return f"is {written!r}, which is no list"
    strange = [each for each in written if not isinstance(each, Recurring)]
    return f"has {strange[0]!r}, which is no Recurring" if strange else ""


def _named(name: str) -> list[str]:
    """Return the kind of each recurrence of this name, but for what is wrong with others' types:
    that is said of them.
    """
    return [
        model._meta.label
        for model in kinds.all_kinds()
        if not _wrong_type(written := as_written(model))
        for each in written
        if (each.name or model._meta.label) == name
    ]


def _error(kind: type[Operation], message: str, hint: str) -> CheckMessage:
    return Error(message, hint=hint, obj=kind, id="operator_app.E015")
