"""Pages of a long table, without counting all of it."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils import formats
from django.utils.functional import cached_property
from django.utils.translation import gettext

COUNTED: Final = 10_000
"""How many rows are counted, and can be paged through, at most."""


class MoreThan(int):
    """A number that stands for itself and more, and says so wherever the admin prints it."""

    def __str__(self) -> str:
        if settings.USE_THOUSAND_SEPARATOR:
            # Templates would put separators between the letters.
            return int.__str__(self)
        return gettext("more than %s") % formats.number_format(int(self), force_grouping=True)


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts `COUNTED` rows at most. One query, that stops there; what is further down is found by
    filters and the search.
    """

    @cached_property
    def count(self) -> int:
        """How many rows there are; a `MoreThan` if they are more than are counted."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        found = rows.order_by()[: COUNTED + 1].count()
        return MoreThan(COUNTED) if found > COUNTED else found
