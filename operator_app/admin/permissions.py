"""Who may do what to operations: Django's permissions, per kind or for all kinds.

| a person does | verb |
|---|---|
| look at operations, their attempts, what becomes of them | view |
| schedule a new one | add |
| edit or reschedule pending ones | change |
| delete those that no operator has claimed | delete |
| let scheduled ones be due now | run |
| retry failed and cancelled ones; release what a lost operator holds | retry |
| cancel pending ones | cancel |
| ask running and stuck ones to abort | abort |
| pause a kind, and let it go on | pause |
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from typing import Any, Final, TypeVar

from django.contrib.auth import get_permission_codename
from django.db.models import QuerySet
from django.http import HttpRequest

from operator_app.models import Operation, kinds, permissions

RowsT = TypeVar("RowsT", bound=QuerySet[Any])

VERBS: Final = ("view", "add", "change", "delete", *permissions.VERBS)
"""What people may be allowed to do."""


def may(request: HttpRequest, verb: str, model: type[Operation]) -> bool:
    """Whether this user may do this to operations of a kind.

    That is so if he has the permission of the kind itself, of a kind that it is a subclass of, or
    of `Operation`, which stands for all kinds. Who may change operations may also view them, as
    everywhere in the admin. No queries but for the user's permissions, the first time.

    Args:
        request: whose user asks.
        verb: one of `VERBS`.
        model: the kind; `Operation` for all of them, those whose class is gone among them.
    """
    verbs = ("view", "change") if verb == "view" else (verb,)
    meta = model._meta

    def ask() -> bool:
        own = (f"{meta.app_label}.{get_permission_codename(each, meta)}" for each in verbs)
        if any(request.user.has_perm(name) for name in own):
            return True
        return any(may(request, verb, kind) for kind in _above(model))

    return _remembered(request, ("all", verb, model), ask)


def kinds_allowed(
    request: HttpRequest, verb: str, model: type[Operation], alias: str
) -> Collection[int] | None:
    """Return the ids of the kinds that the user may do this to, among `model` and what is below it;
    None if that is all of them, those whose class is gone among them.

    No queries but for content types and the user's permissions, the first time.
    """
    if may(request, verb, model):
        return None
    known = kinds.known_kinds(alias).items()
    return {pk for pk, kind in known if issubclass(kind, model) and may(request, verb, kind)}


def may_some(request: HttpRequest, verb: str, model: type[Operation]) -> bool:
    """Whether the user may do this to some operations of `model`: to one of its kinds at least. As
    many queries as `may()`.
    """

    def ask() -> bool:
        below = (kind for kind in kinds.all_kinds() if issubclass(kind, model))
        return may(request, verb, model) or any(may(request, verb, kind) for kind in below)

    return _remembered(request, ("some", verb, model), ask)


def viewable(request: HttpRequest, rows: RowsT) -> RowsT:
    """Return those of some operations that the user may view. No queries but for content types and
    the user's permissions, the first time.

    Args:
        request: whose user asks.
        rows: of `Operation`, or of a kind.
    """
    allowed = kinds_allowed(request, "view", rows.model, rows.db)
    return rows if allowed is None else rows.filter(kind_id__in=allowed)


def kind_of(operation: Operation) -> type[Operation]:
    """Return the class that an operation is of; `Operation` if it is gone. No queries but for
    content types.
    """
    return kinds.model_of(operation.kind_id, operation._alias) or Operation


def _remembered(request: HttpRequest, question: Hashable, ask: Callable[[], bool]) -> bool:
    """Return the answer to what was asked about this user. A page asks the same hundreds of times:
    each action, of each kind. Kept with the user, as Django keeps which permissions he has.
    """
    answers: dict[Hashable, bool]
    answers = request.user.__dict__.setdefault("_operator_app_answers", {})
    if question not in answers:
        answers[question] = ask()
    return answers[question]


def _above(model: type[Operation]) -> Iterator[type[Operation]]:
    """Yield the kinds that a kind is a subclass of, `Operation` last."""
    for base in model.__mro__[1:]:
        if issubclass(base, Operation) and not base._meta.abstract:
            yield base
