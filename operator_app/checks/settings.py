"""Checks of `OPERATOR`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from operator_app import conf
from operator_app.policy import project_policy

SLACK: Final = "operator_app.failures.post_to_slack"


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
    if not found:
        found += _handler_errors(raw)
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


def _handler_errors(raw: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for path in raw.get("ON_FAILURE", ()):
        if (problem := _handler_problem(path)) is not None:
            yield Error(
                f"{conf.SETTING}['ON_FAILURE'] names {path!r}, {problem}",
                hint="Name a function with three arguments: def handler(operation, job, error).",
                id="operator_app.E013",
            )
        elif path == SLACK and not raw.get("SLACK_URL"):
            yield Error(
                f"{conf.SETTING}['ON_FAILURE'] names {path!r}, but there is no "
                f"{conf.SETTING}['SLACK_URL'] to post to.",
                hint="Set it to the URL of an incoming webhook.",
                id="operator_app.E013",
            )


def _handler_problem(path: str) -> str | None:
    """Return what is wrong with a handler of failures, None if nothing is."""
    try:
        handler = import_string(path)
    except Exception as error:
        return f"which cannot be imported: {error}"
    if not callable(handler):
        return "which is not a function."
    if inspect.iscoroutinefunction(handler):
        return "which is async, but it is called from a thread."
    try:
        inspect.signature(handler).bind(None, None, None)
    except TypeError:
        return "which does not take three arguments."
    except ValueError:
        pass  # Written in C, without a signature: the benefit of the doubt.
    return None
