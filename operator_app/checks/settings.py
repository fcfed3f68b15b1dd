"""Checks of `OPERATOR`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from operator_app import conf
from operator_app.policy import project_policy


@register("operator_app")
def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report every bad key and value of `OPERATOR`. No queries."""
    raw = getattr(settings, conf.SETTING, {})
    found: list[CheckMessage] = [
        Error(
            problem,
            hint=f"Correct {conf.SETTING} in the settings.",
            id="operator_app.E001",
        )
        for problem in conf.problems(raw)
    ]
    if isinstance(raw, Mapping) and isinstance(raw.get("POLICY", {}), Mapping):
        found += _policy_errors(raw.get("POLICY", {}))
    return found


def _policy_errors(options: Mapping[Any, Any]) -> Iterator[CheckMessage]:
    # One by one, so that all are reported and not only the first.
    for name, value in options.items():
        try:
            project_policy({name: value})
        except (TypeError, ValueError) as error:
            yield Error(
                str(error),
                hint=f"{conf.SETTING}['POLICY'] takes the same options as Policy(...): "
                f"correct or remove {name!r}.",
                id="operator_app.E002",
            )
