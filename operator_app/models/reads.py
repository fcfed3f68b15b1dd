"""Columns of rows by their ids, by a query that is compiled once.

What a claim has taken is loaded while an operation waits to be run, and to write the query anew
takes the ORM three times as long as the database takes to answer it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from django.db import connections
from django.db.models import Manager, Model

from operator_app.models.among import Among, as_parameter

_COMPILED: Final = "_operator_app_compiled"
"""The attribute of a connection (a `DatabaseWrapper`, which is a thread's own) with its queries."""

_Row = tuple[Any, ...]
_Compiled = tuple[str, Callable[[Iterable[_Row]], Iterable[_Row]]]


def read(
    model: type[Model], names: Collection[str], ids: Collection[int], alias: str
) -> Iterable[_Row]:
    """Return the values of these columns of the rows with these ids, in any order. One query.

    Args:
        model: whose rows.
        names: of the columns, by attname.
        ids: primary keys.
        alias: the database.
    """
    manager = model._base_manager.using(alias)
    parameter = as_parameter(ids, alias)
    # A base manager of the project's may choose anew each time.
    if parameter is None or type(model._base_manager) is not Manager:
        return manager.filter(Among(ids)).values_list(*names)
    compiled: dict[Any, _Compiled] = vars(connections[alias]).setdefault(_COMPILED, {})
    key = (model, model._meta.db_table, *names)
    if key not in compiled:
        compiled[key] = _compile(manager.filter(Among(())).values_list(*names), alias)
    sql, convert = compiled[key]
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, [parameter])
        return convert(cursor.fetchall())


def _compile(rows: Any, alias: str) -> _Compiled:
    """Return the SQL of a queryset, and what makes its rows what the ORM makes of them."""
    compiler = rows.query.get_compiler(alias)
    sql, _ = compiler.as_sql()
    converters = compiler.get_converters([expression for expression, _, _ in compiler.select])
    if not converters:
        return sql, lambda found: found
    return sql, lambda found: compiler.apply_converters(found, converters)
