"""The shares: how many operations a claim takes from each of several equal lanes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from django.db import connections

from operator_app.models.firsts import MOST_LANES, Due, first
from operator_app.models.lanes import Lane, moments
from operator_app.models.takes import Share

# In an outer query, since SQLite has no parentheses in a compound one.
_HEAD: Final = "SELECT head.*, {number} AS lane FROM ({first}) head"
_HEADS: Final = "{heads} ORDER BY should_run_at, id LIMIT %s"

Head = tuple[datetime, int, int]
"""When a due operation is due, its id, and the number of its lane."""


def shares(peers: Sequence[Lane], limit: int, due: Due) -> list[Share]:
    """Return how many of the next `limit` operations come from each of these lanes, all of which
    are of one priority.

    No query if no more than one of them counts, otherwise one for each `MOST_LANES`.

    Args:
        peers: the lanes; those with nothing due are passed over.
        limit: how many operations are wanted, at least 1.
        due: which may be taken.
    """
    # The first `limit` rows in order of time come from the `limit` lanes that are due first, and
    # from those that are due at the same moment as the last of them.
    ordered = sorted(
        [lane for lane in peers if lane.next_at <= due.now], key=lambda lane: lane.next_at
    )
    if not ordered:
        return []
    last = ordered[:limit][-1].next_at
    chosen = [lane for lane in ordered if lane.next_at <= last]
    if len(chosen) == 1:
        return [(chosen[0], limit)]
    counts = Counter(number for _, _, number in sorted(_heads(chosen, limit, due))[:limit])
    return [(chosen[number], share) for number, share in sorted(counts.items())]


def _heads(lanes: Sequence[Lane], limit: int, due: Due) -> Iterator[Head]:
    """Yield the first `limit` due operations of these lanes, and maybe more."""
    as_moment = moments(due.alias)
    for start in range(0, len(lanes), MOST_LANES):
        some = lanes[start : start + MOST_LANES]
        parameters = [value for lane in some for value in due.parameters(lane, limit)]
        with connections[due.alias].cursor() as cursor:
            cursor.execute(_statement(due.alias, len(some), due.suspects), [*parameters, limit])
            for when, pk, number in cursor.fetchall():
                yield as_moment(when), pk, start + number


@lru_cache
def _statement(alias: str, lanes: int, suspects: bool) -> str:
    rows = first(alias, suspects, lock=False)
    heads = [_HEAD.format(number=number, first=rows) for number in range(lanes)]
    return _HEADS.format(heads=" UNION ALL ".join(heads))
