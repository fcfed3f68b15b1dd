"""The page of what has failed: which exceptions, since when, and which of them are the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib.admin import AdminSite
from django.db import router
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import display, permissions
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.guard import may_view
from operator_app.admin.pages import Page
from operator_app.models import Operation, OperationJob, failed, kinds
from operator_app.models.failed import AGES, Exceptions, Sort

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

COLUMNS: Final = (_("1 h"), _("3 h"), _("24 h"), _("3 d"), _("7 d"), _("all"))
"""The headings of `failed.AGES`, and of all."""
HOT: Final = (100, 10, 1)
"""From which numbers on a cell is in which colour, the strongest first."""
KINDS: Final = 5
"""How many kinds of a sort of error are named."""


class Cell(NamedTuple):
    """How many failures there are of one exception and age, and the list of them."""

    number: int
    heat: int
    address: str
    age: Words


class Line(NamedTuple):
    """The cells of one exception."""

    exception: str
    shown: SafeString
    cells: list[Cell]


class Entry(NamedTuple):
    """A sort of errors, as it is shown."""

    sort: Sort
    shown: SafeString
    message: SafeString | None
    kinds: list[str]
    more_kinds: int
    first: SafeString | None
    last: SafeString | None
    address: str
    sample: str
    may_retry: bool


def context(model_admin: AnyModelAdmin, request: HttpRequest) -> dict[str, Any]:
    """Return what the template needs. As many queries as `failed.look()`."""
    alias = router.db_for_read(Operation)
    now = clock.now(alias)
    allowed = permissions.kinds_allowed(request, "view", Operation, alias)
    found = failed.look(alias, now, allowed)
    site = model_admin.admin_site
    return {
        "failures": found,
        "columns": COLUMNS,
        "lines": [_line(site, each, now) for each in found.exceptions],
        "entries": list(_entries(site, request, found.sorts, now)),
        "list": _list(site),
        "looked_at": failed.LOOKED_AT,
    }


PAGE: Final = Page(
    "failed", _("Failed"), "operator_app/admin/failed.html", context, css=(display.FLEET_MEDIA,)
)


def _line(site: AdminSite, found: Exceptions, now: datetime) -> Line:
    since = [*(now - age for age in AGES), None]
    cells = [
        Cell(count, _heat(count), _address(site, found.name, moment), age)
        for count, moment, age in zip(found.counts, since, COLUMNS, strict=True)
    ]
    return Line(found.name, _shown(found.name), cells)


def _shown(exception: str) -> SafeString:
    """Return the name of a class, and more quietly where it is from."""
    module, _dot, name = exception.rpartition(".")
    return format_html('<code>{}</code> <span class="operator-quiet">{}</span>', name, module)


def _heat(count: int) -> int:
    """Return the strength of a cell's colour, from 0 to 3."""
    return next((3 - place for place, least in enumerate(HOT) if count >= least), 0)


def _address(site: AdminSite, exception: str, since: datetime | None) -> str:
    wanted = {"exception": exception} if exception else {}
    if since is not None:
        wanted |= {"time": "ended", "since": since.isoformat(timespec="seconds")}
    return _list(site, **wanted)


def _entries(
    site: AdminSite, request: HttpRequest, sorts: list[Sort], now: datetime
) -> Iterator[Entry]:
    alias = router.db_for_read(Operation)
    sees_attempts = may_view(request, OperationJob)
    for sort in sorts:
        sample = sort.sample
        labels = [kinds.label_of(pk, alias) for pk, _count in sort.by_kind.most_common(KINDS)]
        models = [kinds.model_of(pk, alias) or Operation for pk in sort.by_kind]
        wanted = {"fingerprint": sort.fingerprint} if sort.fingerprint else {}
        page = "" if sample is None else display.page(site, Operation, sample.operation_id)
        yield Entry(
            sort,
            _shown(sort.exception),
            display.shortened(sample.message) if sample is not None and sees_attempts else None,
            labels,
            len(sort.by_kind) - len(labels),
            display.moment(sort.first, now),
            display.moment(sort.last, now),
            _list(site, **wanted) if wanted else _address(site, sort.exception, None),
            page,
            bool(wanted) and all(permissions.may(request, "retry", each) for each in models),
        )


def _list(site: AdminSite, **wanted: str) -> str:
    """Return the address of the list of operations that have failed, filtered."""
    return f"{display.page(site, Operation)}?{urlencode({'state': 'failed', **wanted})}"
