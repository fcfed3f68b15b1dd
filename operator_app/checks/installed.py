"""The models that a run of the checks is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from django.apps import AppConfig, apps
from django.db.models import Model

from operator_app.models import Operation


def models_of(app_configs: Sequence[AppConfig] | None) -> Iterator[type[Model]]:
    """Yield the models of these apps, of all apps if there are none given."""
    configs: Iterable[AppConfig] = apps.get_app_configs() if app_configs is None else app_configs
    for config in configs:
        yield from config.get_models()


def kinds_of(app_configs: Sequence[AppConfig] | None) -> Iterator[type[Operation]]:
    """Yield the kinds of these apps: the subclasses of `Operation`, proxies included."""
    for model in models_of(app_configs):
        if issubclass(model, Operation) and model is not Operation:
            yield model


def own_classes(kind: type[Operation]) -> list[type]:
    """Return the classes that a kind adds to its line: itself, its abstract bases and its mixins,
    but for those that another kind in the line already has.
    """
    above = [
        base
        for base in kind.__mro__[1:]
        if issubclass(base, Operation) and (base is Operation or not base._meta.abstract)
    ]
    inherited = {ancestor for base in above for ancestor in base.__mro__}
    return [base for base in kind.__mro__ if base not in inherited]
