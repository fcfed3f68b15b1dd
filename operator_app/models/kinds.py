"""Which class an operation is of, and which classes this process knows."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.contenttypes.models import ContentType, ContentTypeManager
from django.core.signals import setting_changed
from django.db.models import Subquery
from django.dispatch import receiver

from operator_app import policy as policies

if TYPE_CHECKING:
    from operator_app.models.operation import Operation
    from operator_app.models.querysets import OperationQuerySet

_resolved: dict[tuple[int, ...], tuple[list[policies.Policy], policies.Policy]] = {}


@lru_cache
def base() -> type[Operation]:
    """Return `Operation`, whose module imports this one."""
    from operator_app.models.operation import Operation

    return Operation


def operations(alias: str) -> OperationQuerySet[Operation]:
    """Return all operations of a database, as instances of `Operation`."""
    return base().all_objects.using(alias)


def content_type(model: type[Operation], alias: str) -> ContentType:
    """Return the content type of a kind; a proxy has its own. One query, the first time."""
    return _content_types(alias).get_for_model(model, for_concrete_model=False)


def content_type_id(model: type[Operation]) -> Subquery:
    """Return a subquery for the id of the kind's content type: it asks the database when the query
    around it does, and not where that query is only written down (as in a form at import time).
    """
    meta = model._meta
    rows = ContentType.objects.filter(app_label=meta.app_label, model=meta.model_name)
    return Subquery(rows.values("id")[:1])


@lru_cache
def _content_types(alias: str) -> ContentTypeManager:
    """Return the manager of one database: the same one, since to make it takes longer than to find
    in it what it has found before.
    """
    return ContentType.objects.db_manager(alias)


def model_of(kind_id: int, alias: str) -> type[Operation] | None:
    """Return the class of a kind, or None if this process does not know it. Cached by Django."""
    try:
        found = _content_types(alias).get_for_id(kind_id).model_class()
    except ContentType.DoesNotExist:
        return None
    if found is None or not issubclass(found, base()) or found is base():
        return None
    return found


def id_of_label(label: str, alias: str) -> int | None:
    """Return the id of the kind "app.Model", in any case; None if there is none. One query, the
    first time.
    """
    app_label, _dot, name = label.rpartition(".")
    if "\0" in label:  # PostgreSQL refuses to look for it.
        return None
    try:
        return _content_types(alias).get_by_natural_key(app_label, name.lower()).pk
    except ContentType.DoesNotExist:
        return None


def label_of(kind_id: int, alias: str) -> str:
    """Return "app.Model" for a kind; in lower case if its class is gone. Cached by Django."""
    try:
        kind = _content_types(alias).get_for_id(kind_id)
    except ContentType.DoesNotExist:
        return f"kind {kind_id}"
    found = kind.model_class()
    return found._meta.label if found else f"{kind.app_label}.{kind.model}"


def checked(model: Any) -> type[Operation]:
    """Return a model that is a kind; TypeError for any other."""
    if not isinstance(model, type) or not issubclass(model, base()) or model is base():
        raise TypeError(f"{getattr(model, '__name__', model)} is no kind of operations.")
    return model


def of_label(label: str) -> type[Operation]:
    """Return the kind "app.Model".

    Raises:
        ValueError: if there is no such model, or it is no kind.
    """
    try:
        return checked(apps.get_model(label))
    except (LookupError, ValueError) as error:
        raise ValueError(f"There is no model {label!r}: {error}") from error
    except TypeError:
        raise ValueError(f"{label} is no kind of operations.") from None


def all_kinds() -> list[type[Operation]]:
    """Return every kind that is installed: the subclasses of `Operation`, proxies included."""
    return [
        model for model in apps.get_models() if issubclass(model, base()) and model is not base()
    ]


def known_kinds(alias: str) -> dict[int, type[Operation]]:
    """Return the kinds that this process can run, by the ids of their content types.

    One query the first time; Django keeps content types in memory afterwards.
    """
    found = _content_types(alias).get_for_models(*all_kinds(), for_concrete_models=False)
    return {kind.pk: model for model, kind in found.items()}  # type: ignore[misc]


def stored_kinds(alias: str) -> dict[int, type[Operation]]:
    """Return the kinds that this process can run, by the ids of their content types, as far as
    these are there. One query. None is made: `migrate`, which may just be running, makes them.
    """
    models = {(model._meta.app_label, model._meta.model_name): model for model in all_kinds()}
    rows = ContentType.objects.using(alias).filter(app_label__in={label for label, _ in models})
    found = rows.order_by("pk").values_list("pk", "app_label", "model")
    return {pk: models[label] for pk, *names in found if (label := tuple(names)) in models}


def overrides(model: type[Operation], method: str) -> bool:
    """Whether a kind has its own version of one of the methods of `Operation`."""
    return getattr(model, method) is not getattr(base(), method)


def policy_of(model: type[Operation]) -> policies.Policy:
    """Return the policy of a kind, complete: its own, its bases', the project's, built in."""
    own = [vars(base)["policy"] for base in model.__mro__ if "policy" in vars(base)]
    # By identity, since policies hold lists; the policies are kept, so that no id is used twice.
    key = tuple(id(policy) for policy in own)
    if key not in _resolved:
        _resolved[key] = (own, policies.resolve(*own))
    return _resolved[key][1]


def runner_of(model: type[Operation]) -> str:
    """Return the name of the runner that a kind's operations run on."""
    wanted = str(policy_of(model).runner)
    if wanted == "threads" and inspect.iscoroutinefunction(model.run):
        return "asyncio"
    return wanted


@receiver(setting_changed)
def _forget_policies(*, setting: str, **kwargs: object) -> None:
    if setting == "OPERATOR":
        _resolved.clear()
