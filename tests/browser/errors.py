"""Errors as the shop's operations leave them behind: raised for real, so that tracebacks are."""

from __future__ import annotations

import json
import sqlite3
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from example_project.shop.models import Book, ComputeMargin, ImportCatalogue
from example_project.shop.partners import PartnerDown
from operator_app.reports import ErrorReport
from tests.databases import ROOT

PLACES: Final = {
    __file__: "/srv/marginalia/shop/errands.py",
    f"{ROOT}/example_project": "/srv/marginalia",
    sysconfig.get_path("stdlib"): "/usr/lib/python3.13",
}
"""Where files are on a server, by where they are here: pictures are the same wherever taken."""


def reports() -> dict[str, list[ErrorReport]]:
    """Return what went wrong with each kind, by its name; with "" what may with any."""
    return {
        "": [_report(_locked), _report(_no_answer), _report(_no_space)],
        "ComputeMargin": [_report(_free_book)],
        "ImportCatalogue": [_report(_no_file), _report(_no_such_column)],
        "UpdateStock": [_report(_cut_off)],
        "FetchRate": [_report(_down), _report(_no_answer)],
        "TrackParcel": [_report(_down)],
        "AskDelivery": [_report(_down), _report(_cut_off)],
        "ArrangeWindow": [_report(_too_long)],
    }


def _report(fails: Callable[[], object]) -> ErrorReport:
    try:
        fails()
    except Exception as error:
        trace = error.__traceback__
        report = ErrorReport.of(error.with_traceback(trace and trace.tb_next))
        return replace(report, message=_moved(report.message), traceback=_moved(report.traceback))
    raise AssertionError(f"{fails.__name__} did not fail")


def _moved(text: str) -> str:
    for here, there in PLACES.items():
        text = text.replace(here, there)
    return text


def _free_book() -> None:
    ComputeMargin(book=Book(title="Nothing for Nothing", price_cents=0, cost_cents=0)).run()


def _no_file() -> None:
    ImportCatalogue(file_name="catalogue-of-last-year.csv").run()


def _no_such_column() -> None:
    ImportCatalogue().take_over({"sku": "BK-17", "title": "Kerning for Cats", "author": "K. Kern"})


def _cut_off() -> None:
    json.loads('{"BK-1": 4, "BK-2": ')


def _down() -> None:
    raise PartnerDown(503)


def _no_answer() -> None:
    try:
        raise ConnectionRefusedError(111, "Connection refused")
    except OSError as error:
        raise TimeoutError("nobody answered within 5 s") from error


def _no_space() -> None:
    raise OSError(28, "No space left on device", "/srv/shop/reports/margins.csv")


def _locked() -> None:
    raise sqlite3.OperationalError("database is locked")


def _too_long() -> None:
    raise TimeoutError("the operation ran for 1.0 s, timeout 1 s")
