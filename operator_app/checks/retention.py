"""Checks of what goes along when old operations are deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.db.models import CASCADE, ManyToOneRel

from operator_app import conf
from operator_app.checks.installed import kinds_of
from operator_app.models import Operation
from operator_app.moments import in_words
from operator_app.retention import DEFAULTS, STATES

OWN: Final = "operator_app"


@register("operator_app")
def check_retention(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn of rows of the project that are deleted with an operation, where nobody has said how
    long that is kept. No queries.
    """
    raw = getattr(settings, conf.SETTING, {})
    if any(conf.problems(raw)):
        return []  # Said elsewhere.
    said = raw.get("RETENTION", {})
    if said is None:
        return []  # Everything is kept.
    found: list[CheckMessage] = []
    concerned: list[type[Operation]] = [Operation, *kinds_of(app_configs)]
    for kind in concerned:
        unsaid = _unsaid(kind, said)
        if unsaid:
            found += (_warning(kind, relation, unsaid) for relation in _cascades(kind))
    return found


def _unsaid(kind: type[Operation], said: Mapping[str, Any]) -> list[str]:
    """Return the states of which only the default says how long operations are kept."""
    try:
        own = kind.resolved_policy().retention
    except (TypeError, ValueError):
        return []  # A policy that is wrong is said elsewhere, too.
    named = {*said, *(own if isinstance(own, Mapping) else ())}
    return [state for state in STATES if state not in named]


def _cascades(kind: type[Operation]) -> Iterator[ManyToOneRel]:
    """Yield the relations by which rows of the project go with an operation of a kind."""
    for relation in kind._meta.get_fields(include_hidden=True):
        # Of the class itself: those of its parents are told of these.
        if not isinstance(relation, ManyToOneRel) or relation.model is not kind:
            continue
        meta = relation.related_model._meta
        # What is part of an operation: its own table, and those of its many-to-many fields.
        is_part = relation.parent_link or bool(meta.auto_created)
        if relation.on_delete is CASCADE and meta.app_label != OWN and not is_part:
            yield relation


def _warning(kind: type[Operation], relation: ManyToOneRel, unsaid: list[str]) -> CheckMessage:
    ages = ", ".join(f"{state} ones after {in_words(DEFAULTS[state])}" for state in unsaid)
    field = f"{relation.related_model._meta.label}.{relation.field.name}"
    return Warning(
        f"Rows of {field} are deleted with the {kind._meta.label} that they refer to "
        f"(on_delete=CASCADE), and old operations are deleted by default: {ages}.",
        hint=f"Say how long they are wanted, in {conf.SETTING}['RETENTION'] or in the policy of "
        "the kind (None is for ever), or use another on_delete.",
        obj=relation.field,
        id="operator_app.W009",
    )
