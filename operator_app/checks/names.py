"""Checks of names: what a kind adds must not take a name that the engine uses.

A reverse accessor is set on `Operation` itself, for every kind at once: `class Cancel(Operation)`
puts `Operation.cancel` in the place of the method, without a word from Python or Django.
"""

from __future__ import annotations

import inspect
import symtable
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning, register
from django.db.models import Model
from django.db.models.fields.related_descriptors import (
    ReverseManyToOneDescriptor,
    ReverseOneToOneDescriptor,
)

from operator_app.checks.installed import kinds_of, models_of, own_classes
from operator_app.models import Operation, OperationJob
from operator_app.models.guards import engine_names as column_names

ARGUMENTS: Final = frozenset({"cls", "when", "queue", "priority", "unique_key", "if_exists"})
"""What `schedule()` takes by itself; a field of such a name could not be passed to it."""

OVERRIDABLE: Final = frozenset(
    {
        *("run", "queued", "succeeded", "errored", "tags", "policy", "recurrences"),
        *("objects", "all_objects", "Meta"),
    }
)
"""What a kind is meant to define anew."""

CURE: Final = (
    '{link} = models.OneToOneField({parent}, models.CASCADE, parent_link=True, related_name="+")'
)


@register("operator_app")
def check_names(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check the names of accessors, fields and class attributes. No queries."""
    found: list[CheckMessage] = []
    for model in models_of(app_configs):
        found += accessor_clashes(model)
    for kind in kinds_of(app_configs):
        found += [*field_clashes(kind), *attribute_clashes(kind)]
    return found


@lru_cache(maxsize=1)
def reserved_names() -> frozenset[str]:
    """Return the names that the engine uses, those among them that an accessor has replaced."""
    still_there = {name for name, value in vars(Operation).items() if not _is_accessor(value)}
    to_jobs: Any = OperationJob._meta.get_field("operation").remote_field
    names = still_there | body_names() | column_names() | ARGUMENTS | set(dir(Model))
    names |= {to_jobs.get_accessor_name(), "pk"}
    return frozenset(name for name in names if not name.startswith("__"))


@lru_cache(maxsize=1)
def body_names() -> frozenset[str]:
    """Return the names that the class statement of `Operation` binds.

    Read from its source: by the time of the checks, the class has lost what accessors replaced.
    """
    module = inspect.getmodule(Operation)
    assert module is not None
    try:
        source = inspect.getsource(module)
    except OSError:
        return frozenset()  # Shipped without its source.
    table = symtable.symtable(source, str(module.__file__), "exec")
    body = next(part for part in table.get_children() if part.get_name() == Operation.__name__)
    return frozenset(name.get_name() for name in body.get_symbols() if name.is_assigned())


def accessor_clashes(model: type[Model]) -> Iterator[CheckMessage]:
    """Yield the relations of `model` to operations whose other end takes a name of the engine."""
    if model is OperationJob:
        return
    relations: list[Any] = [*model._meta.local_fields, *model._meta.local_many_to_many]
    for field in relations:
        target = _operation_behind(field)
        if target is None:
            continue
        remote = field.remote_field
        name, lookup = remote.get_accessor_name(), field.related_query_name()
        if name in reserved_names():
            what = (
                f"{target.__name__}.{name}, the reverse accessor of {model.__name__}.{field.name},"
            )
        elif lookup in column_names():
            what = f"The lookup {lookup!r}, the reverse of {model.__name__}.{field.name},"
        else:
            continue
        yield Error(
            f"{what} takes a name that the engine uses.",
            hint=_accessor_hint(model, field, target),
            obj=model,
            id="operator_app.E008",
        )


def field_clashes(kind: type[Operation]) -> Iterator[CheckMessage]:
    """Yield the fields of a kind that take a name of the engine."""
    for field in _own_fields(kind):
        for name in sorted(_names_of(field) & reserved_names()):
            if name in ARGUMENTS - column_names():
                why = "is an argument of schedule(), so no value could be passed for it"
            else:
                why = "is a name that the engine uses"
            yield Error(
                f"The field {kind._meta.label}.{field.name} cannot have this name: {name!r} {why}.",
                hint=f"Rename the field; db_column={field.name!r} keeps the name of its column.",
                obj=kind,
                id="operator_app.E009",
            )


def attribute_clashes(kind: type[Operation]) -> Iterator[CheckMessage]:
    """Yield the plain attributes and methods of a kind that hide something of the engine's."""
    fields = {name for field in _own_fields(kind) for name in _names_of(field)}
    methods = body_names() - OVERRIDABLE - set(dir(Model))
    for owner in own_classes(kind):
        for name, value in vars(owner).items():
            what = f"{owner.__name__}.{name}"
            if name in fields or _is_accessor(value):
                continue  # Reported as what they are.
            if name in column_names():
                yield Error(
                    f"{what} shadows the column {name!r} of the engine, which does not see it.",
                    hint=_shadow_hint(name, value),
                    obj=kind,
                    id="operator_app.E010",
                )
            elif name in methods:
                yield Warning(
                    f"{what} overrides Operation.{name}, which the engine and the admin rely on.",
                    hint="Give it another name. A kind is meant to define "
                    f"{', '.join(sorted(OVERRIDABLE - {'Meta'}))}.",
                    obj=kind,
                    id="operator_app.W001",
                )


def _operation_behind(field: Any) -> type[Operation] | None:
    """Return the class of operations that a relation points to; None if it is something else."""
    target = getattr(field.remote_field, "model", None)
    return target if isinstance(target, type) and issubclass(target, Operation) else None


def _own_fields(kind: type[Operation]) -> list[Any]:
    meta = kind._meta
    # The private ones are those without a column, as GenericForeignKey.
    private = [field for field in meta.private_fields if not hasattr(field, "mti_inherited")]
    return [*meta.local_fields, *meta.local_many_to_many, *private]


def _names_of(field: Any) -> set[str]:
    return {field.name, getattr(field, "attname", field.name)}


def _is_accessor(value: object) -> bool:
    return isinstance(value, (ReverseOneToOneDescriptor, ReverseManyToOneDescriptor))


def _accessor_hint(model: type[Model], field: Any, target: type[Operation]) -> str:
    if getattr(field.remote_field, "parent_link", False):
        cure = CURE.format(link=field.name, parent=target.__name__)
        return f"Rename {model.__name__}, or add to it: {cure}"
    return f'Give {model.__name__}.{field.name} another related_name; related_name="+" has none.'


def _shadow_hint(name: str, value: object) -> str:
    if name in {"queue", "priority"}:
        return f"Write policy = Policy({name}={value!r})."
    return "Give it another name. How operations are run belongs into policy = Policy(...)."
