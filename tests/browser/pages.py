"""Every page of the admin that this app has a hand in, found by asking the admin for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.urls import URLPattern, reverse

from example_project.shop.models import ImportCatalogue, RankUp, SweepBaskets
from operator_app.models import Operation
from operator_app.models.choice import STATES

FORMS: Final = ("changelist", "add", "change")
DJANGOS: Final = (*FORMS, "delete", "history", "index")
SAMPLED: Final = {ImportCatalogue: FORMS, RankUp: None, SweepBaskets: FORMS}
"""The kinds whose pages are looked at, and which of them: with columns, with a foreign key, with
neither. Of one of them it is every page; what all kinds share is the same in each."""
QUERIES: Final = {
    "operator_app_operation_changelist": [
        *(f"state={state}" for state in ("running", "stuck", "failed")),
        "q=customer:3",
        "q=nothing-has-this-name",
    ],
}
"""Lists that are looked at filtered, too."""
ROWS_BY: Final = (["object_id"], ["pk"])
"""What stands in an address for a row of the model whose page it is."""
VALUES: Final = {"label": ["shop.ImportCatalogue", "shop.SweepBaskets"]}
"""What is filled in for what else may stand in an address, by its name there."""
REFUSED: Final = {
    "operator_app_operation_add",
    "operator_app_operationjob_add",
    "operator_app_operationjob_delete",
    "operator_app_operatorprocess_add",
    "operator_app_operatorprocess_delete",
}
"""Addresses that Django has and we close, for everybody."""


class Place(NamedTuple):
    """A page to look at."""

    name: str
    """Of the test and of its pictures."""
    view: str
    """The name of the address."""
    model: type[Model] | None = None
    row: str = ""
    """Which row of the model it is of: a state, "first" or "last"; or without a model, what else
    is in its address.
    """
    query: str = ""

    @property
    def is_djangos(self) -> bool:
        """Whether it is a page that Django gives to every model."""
        return self.view.rpartition("_")[2] in DJANGOS

    def address(self) -> str:
        """Return the path and the query. One query for the row."""
        arguments = []
        if self.row:
            arguments = [self.row if self.model is None else find(self.model, self.row).pk]
        return reverse(f"admin:{self.view}", args=arguments) + (self.query and f"?{self.query}")


def find(model: type[Model], row: str) -> Any:
    """Return a row by its state or its place. One query."""
    rows: QuerySet[Any] = getattr(model, "all_objects", model._default_manager).order_by("pk")
    if row in STATES:
        # The newest one that has attempts to show, or the newest of all.
        with_jobs = getattr(rows, row)().filter(jobs__isnull=False)
        return with_jobs.last() or getattr(rows, row)().last()
    return rows.first() if row == "first" else rows.last()


def places() -> Iterator[Place]:
    """Yield every page, in the order of their names. No queries."""
    yield Place("index", "index")
    yield Place("section", "app_list", None, "operator_app")
    for model, model_admin in sorted(
        admin.site._registry.items(), key=lambda it: it[0]._meta.label
    ):
        if model._meta.app_label == "operator_app" or model in SAMPLED:
            for pattern in model_admin.get_urls():
                yield from _places(model, pattern)


def _places(model: type[Model], pattern: Any) -> Iterator[Place]:
    if not isinstance(pattern, URLPattern) or not pattern.name:
        return  # Django's redirect from an address of long ago has no name.
    prefix = f"{model._meta.app_label}_{model._meta.model_name}_"
    short = pattern.name.removeprefix(prefix)
    looked_at = SAMPLED.get(model)
    if looked_at is not None and short not in looked_at:
        return
    name = f"{model._meta.model_name}-{short}".replace("_", "-")
    parameters = list(pattern.pattern.regex.groupindex)
    if not parameters:
        yield Place(name, pattern.name)
        for query in QUERIES.get(pattern.name, []):
            yield Place(
                f"{name}-{query.replace('=', '-').replace(':', '-')}", pattern.name, query=query
            )
    elif parameters[0] in VALUES and len(parameters) == 1:
        for value in VALUES[parameters[0]]:
            yield Place(f"{name}-{value}", pattern.name, None, value)
    else:
        assert parameters in ROWS_BY, f"{pattern}: say in VALUES what to fill in for {parameters}"
        for row in _rows(model, short):
            yield Place(f"{name}-{row}", pattern.name, model, row)


def _rows(model: type[Model], short: str) -> list[str]:
    if short != "change":
        return ["last"]
    if model is Operation:
        return list(STATES)
    return ["last"] if issubclass(model, Operation) else ["first", "last"]
