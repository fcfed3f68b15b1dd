"""What finds operations in a word: the search box of the admin, `--tag` of the commands."""

from __future__ import annotations

import re
from typing import Final

from django.db.models import Q

from operator_app.models import kinds
from operator_app.models.arguments import KEY_LIMIT, digest
from operator_app.models.tag import OperationTag

EVERY_OPERATION: Final = "operation"
"""The tag that all operations have whose kind names no tags of its own."""

LARGEST_ID: Final = 2**63 - 1
NUL: Final = "\0"
"""In no text that was stored: PostgreSQL has none with it, and refuses to look for one."""

_DEFAULT_TAG: Final = re.compile(r"(?P<kind>\w[\w.]*\.\w+):(?P<id>\d{1,19})")
_ID: Final = re.compile(r"#?(?P<id>\d{1,19})")


def condition(term: str, alias: str) -> Q:
    """Return what finds the operations that `term` names. Three queries at most, each by
    an index.

    Understood are an id (`17`, `#17`), the default tags (`app.Model:17`, `operation`), tags that
    were stored, and unique keys, of ended operations, too.
    """
    if term == EVERY_OPERATION:
        return Q()
    if NUL in term:
        return Q(pk__in=[])
    # Each of the ways on its own can use an index; all of them in one OR could use none.
    ids = {*_named(term, alias), *_active(term, alias)}
    tags = OperationTag.objects.using(alias).filter(name=term)
    if tags.exists():
        tagged = Q(pk__in=tags.values("operation_id"))
        return tagged | Q(pk__in=ids) if ids else tagged
    if _ID.fullmatch(term) or _DEFAULT_TAG.fullmatch(term):
        return Q(pk__in=ids)
    return Q(unique_key=term)


def _named(term: str, alias: str) -> list[int]:
    """Return the id that a term contains; none if it is of a kind that the operation is not of."""
    if match := _ID.fullmatch(term):
        pk = int(match["id"])
        return [pk] if pk <= LARGEST_ID else []
    if match := _DEFAULT_TAG.fullmatch(term):
        kind_id, pk = kinds.id_of_label(match["kind"], alias), int(match["id"])
        if kind_id is not None and pk <= LARGEST_ID:
            rows = kinds.operations(alias).filter(pk=pk, kind_id=kind_id)
            return list(rows.values_list("pk", flat=True))
    return []


def _active(term: str, alias: str) -> list[int]:
    """Return the active operations with this unique key, of any kind."""
    if len(term) > KEY_LIMIT:
        return []
    known = list(kinds.known_kinds(alias))
    rows = kinds.operations(alias).filter(kind_id__in=known, active_key=digest(term))
    return list(rows.values_list("pk", flat=True))
