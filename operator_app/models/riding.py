"""SQL that rides along on a statement of the ORM: no round trip and no commit of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

Wanted: TypeAlias = Callable[[], str]


class Ride:
    """What rides along, and what came of it. An `execute_wrapper`, for PostgreSQL.

    Args:
        starts: how the statements begin that it rides on.
        wanted: returns the SQL to add to what that statement returns; empty for none.
        rode: called after each statement that it rode on, with Django's cursor.
    """

    def __init__(
        self, starts: tuple[str, ...], wanted: Wanted, rode: Callable[[Any], object]
    ) -> None:
        self._starts = starts
        self._wanted = wanted
        self._rode = rode

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        """Execute the statement with what rides along, or as it is."""
        if many or not sql.startswith(self._starts) or not (extra := self._wanted()):
            return execute(sql, params, many, context)
        joint = ", " if " RETURNING " in sql else " RETURNING "
        result = execute(f"{sql}{joint}{extra}", params, many, context)
        self._rode(context["cursor"])
        return result


@contextmanager
def riding(
    connection: Any, verbs: Sequence[str], table: str, wanted: Wanted, rode: Callable[[Any], object]
) -> Iterator[None]:
    """Let SQL ride along on the statements of this block that begin with a verb of these and a
    table: see `Ride`.

    What the ORM does not expect it does not read: further columns behind those it has asked for.
    """
    starts = tuple(f"{verb} {connection.ops.quote_name(table)} " for verb in verbs)
    with connection.execute_wrapper(Ride(starts, wanted, rode)):
        yield
