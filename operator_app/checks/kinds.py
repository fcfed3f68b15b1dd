"""Checks of kinds: can the engine run, configure and find their operations?"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from operator_app.checks.installed import kinds_of, own_classes
from operator_app.conf import did_you_mean
from operator_app.models import Operation, OperationManager, OperationQuerySet
from operator_app.models.guards import engine_names
from operator_app.policy import Policy
from operator_app.validation import UNSET


@register("operator_app")
def check_kinds(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check the `run()`, the policy and the managers of each kind. No queries."""
    return [
        message
        for kind in kinds_of(app_configs)
        for problems in (run_problems, policy_problems, field_problems, manager_problems)
        for message in problems(kind)
    ]


def run_problems(kind: type[Operation]) -> Iterator[CheckMessage]:
    """Yield what keeps the engine from calling the kind's `run()`."""
    run = inspect.getattr_static(kind, "run", None)
    label = kind._meta.label
    if run is inspect.getattr_static(Operation, "run", None) or not callable(kind.run):
        yield Error(
            f"{label} has no run() method, so its operations cannot be scheduled.",
            hint=f"Define run(self) in {kind.__name__}, or make it an abstract base class with "
            "abstract = True in its Meta.",
            obj=kind,
            id="operator_app.E003",
        )
    elif inspect.isgeneratorfunction(kind.run) or inspect.isasyncgenfunction(kind.run):
        yield Error(
            f"The run() method of {label} is a generator: to call it would run none of it.",
            hint="Take the yield out of run(), or move it into a method that run() iterates over.",
            obj=kind,
            id="operator_app.E004",
        )
    elif not _takes_no_arguments(run):
        yield Error(
            f"The run() method of {label} takes arguments, but it is called without any.",
            hint="Define it as run(self), and read the arguments from fields of the operation.",
            obj=kind,
            id="operator_app.E004",
        )


def policy_problems(kind: type[Operation]) -> Iterator[CheckMessage]:
    """Yield the policies among the classes of a kind that are none, or that do not fit it."""
    for owner in own_classes(kind):
        policy = vars(owner).get("policy")
        if "policy" in vars(owner) and not isinstance(policy, Policy):
            yield Error(
                f"{owner.__name__}.policy must be a Policy, not {type(policy).__name__}.",
                hint="Write policy = Policy(...), with `from operator_app import Policy`.",
                obj=kind,
                id="operator_app.E005",
            )
            return
    try:
        policy = kind.resolved_policy()
    except (ImproperlyConfigured, TypeError, ValueError):
        return  # The settings are wrong, which is E001 or E002.
    is_async = inspect.iscoroutinefunction(kind.run)
    if policy.runner == "asyncio" and not is_async:
        yield Error(
            f"The policy of {kind._meta.label} says runner='asyncio', but its run() is not async: "
            "it would block the event loop, and with it all other operations there.",
            hint="Define async def run(self), or leave the runner to the default.",
            obj=kind,
            id="operator_app.E014",
        )
    if policy.atomic and is_async:
        yield Error(
            f"The run() method of {kind._meta.label} is async, but its policy says atomic=True: "
            "a transaction cannot hold an async run().",
            hint=f"Define it as a plain run(self), or set atomic=False in {kind.__name__}.policy.",
            obj=kind,
            id="operator_app.E012",
        )


def field_problems(kind: type[Operation]) -> Iterator[CheckMessage]:
    """Yield the sensitive fields that the policies among the classes of a kind name, and that it
    does not have. Those of the project's policy may be of other kinds.
    """
    known = {field.name for field in (*kind._meta.concrete_fields, *kind._meta.many_to_many)}
    for owner in own_classes(kind):
        policy = vars(owner).get("policy")
        named = policy.sensitive_fields if isinstance(policy, Policy) else UNSET
        for name in () if named is UNSET else named:
            if name not in known:
                hint = did_you_mean(name, sorted(known - engine_names()))
                yield Error(
                    f"{owner.__name__}.policy names {name!r} in sensitive_fields, which is no "
                    f"field of {kind._meta.label}{hint}",
                    hint="It masks nothing: name the field as the class has it.",
                    obj=kind,
                    id="operator_app.E016",
                )


def manager_problems(kind: type[Operation]) -> Iterator[CheckMessage]:
    """Yield what is wrong with the managers that the engine and the admin start from."""
    default = kind._default_manager
    if not _is_operation_manager(default):
        yield Error(
            f"The default manager of {kind._meta.label}, {default.name}, is not an "
            "OperationManager, so it lacks the states of operations and shows cancelled ones.",
            hint="Derive it from operator_app.models.OperationManager (and its queryset, if it has "
            "one of its own, from OperationQuerySet), or declare "
            "objects = OperationManager() above it.",
            obj=kind,
            id="operator_app.E006",
        )
    everything = getattr(kind, "all_objects", None)
    if not _is_operation_manager(everything) or not getattr(everything, "with_cancelled", False):
        yield Error(
            f"{kind._meta.label}.all_objects leaves out cancelled operations, or is not an "
            "OperationManager; outcomes are recorded through it.",
            hint="Give your manager another name, or write all_objects = AllOperationsManager(), "
            "with `from operator_app.models import AllOperationsManager`, or a class derived from "
            "it.",
            obj=kind,
            id="operator_app.E007",
        )


def _takes_no_arguments(run: Any) -> bool:
    """Whether a method, as it stands in its class, can be called with nothing but its instance."""
    bound = run.__get__(object(), object) if hasattr(run, "__get__") else run
    try:
        inspect.signature(bound).bind()
    except TypeError:
        return False
    except ValueError:
        return True  # Written in C, without a signature: the benefit of the doubt.
    return True


def _is_operation_manager(manager: Any) -> bool:
    queryset: Any = getattr(manager, "_queryset_class", object)
    return isinstance(manager, OperationManager) and issubclass(queryset, OperationQuerySet)
