"""The page of what has failed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils.html import escape

from operator_app import clock
from operator_app.models import Operation, OperationJob, failed
from tests.admin.conftest import in_state, put
from tests.admin.test_pages import EVIL, LIST, shown, text
from tests.admin.test_runs import yes
from tests.kinds.models import Note, Report
from tests.models.tools import queries

pytestmark = pytest.mark.django_db

PAGE = "/kinds/operator_app/operation/failed/"


def gone_wrong(
    exception: str = "app.Broken",
    mark: str | None = "a" * 16,
    *,
    ago: timedelta = timedelta(minutes=5),
    kind: type[Operation] = Note,
    message: str = "it broke",
) -> Operation:
    operation = put(in_state("failed", kind), failed_run_at=clock.now() - ago)
    OperationJob.objects.create(
        operation_id=operation.pk,
        number=operation.attempts,
        started_at=clock.now(),
        outcome="failed",
        exception_class=exception,
        message=message,
        fingerprint=mark,
    )
    return operation


def links(page: str) -> dict[str, dict[str, list[str]]]:
    """The links of the cells: exception and age -> what the list is filtered by."""
    found = re.findall(r'<a href="([^"]+)" title="([^"]+)">\d+</a>', page)
    return {title: parse_qs(urlsplit(href.replace("&amp;", "&")).query) for href, title in found}


def test_nothing_has_failed(boss: Client) -> None:
    in_state("finished")
    assert "Nothing has failed." in text(boss.get(PAGE))


def test_the_cells_lead_to_the_list(boss: Client) -> None:
    gone_wrong()
    gone_wrong(ago=timedelta(hours=5))
    page = text(boss.get(PAGE))
    cells = links(page)
    assert cells["app.Broken, all"] == {"state": ["failed"], "exception": ["app.Broken"]}
    hour = cells["app.Broken, 1 h"]
    assert (hour["state"], hour["exception"], hour["time"]) == (
        ["failed"],
        ["app.Broken"],
        ["ended"],
    )
    since = datetime.fromisoformat(hour["since"][0])
    assert abs((clock.now() - since).total_seconds() - 3600) < 60
    figures = re.findall(r'<td class="operator-figure operator-heat-\d">\s*<a[^>]*>(\d+)', page)
    assert figures == ["1", "1", "2", "2", "2", "2"]


def test_what_is_of_one_sort_is_one_row(boss: Client) -> None:
    first, last = gone_wrong(message="old"), gone_wrong(kind=Report, message="new words")
    gone_wrong(mark="b" * 16, ago=timedelta(days=2))
    page = text(boss.get(PAGE))
    assert "new words" in page and "old" not in page.replace("older", "")
    assert "kinds.Note, kinds.Report" in page or "kinds.Report, kinds.Note" in page
    assert f"?state=failed&amp;fingerprint={'a' * 16}" in page
    wanted = {"state": "failed", "fingerprint": "a" * 16}
    assert shown(boss.get(LIST, wanted)) == {first.pk, last.pk}


def test_retry_all_of_a_sort(boss: Client) -> None:
    mine = [gone_wrong(), gone_wrong()]
    other = gone_wrong(mark="b" * 16)
    page = text(boss.get(PAGE))
    form = re.search(
        rf'<form method="post" action="([^"]+fingerprint={"a" * 16})">(.*?)</form>', page, re.S
    )
    assert form is not None
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form[2]))
    assert fields["action"] == "retry_selected"
    address = form[1].replace("&amp;", "&")
    asked = boss.post(address, fields)
    boss.post(address, yes(asked), follow=True)
    assert {Operation.all_objects.get(pk=each.pk).state for each in mine} == {"due"}
    assert Operation.all_objects.get(pk=other.pk).state == "failed"


def test_what_is_not_known_can_be_listed_and_not_retried(boss: Client) -> None:
    gone_wrong(mark=None)
    in_state("failed")
    page = text(boss.get(PAGE))
    assert "(unknown)" in page and "(no exception)" in page
    assert 'value="retry_selected"' not in page


def test_who_may_not_view_is_refused_and_who_may_only_view_cannot_retry(
    staff: Callable[..., Client],
) -> None:
    gone_wrong()
    assert staff("retry_operation").get(PAGE).status_code == 403
    looking = staff("view_operation")
    assert 'value="retry_selected"' not in text(looking.get(PAGE))
    assert 'value="retry_selected"' in text(staff("view_operation", "retry_operation").get(PAGE))
    assert looking.post(PAGE).status_code == 405


def test_what_attempts_said_is_for_who_may_see_them(staff: Callable[..., Client]) -> None:
    gone_wrong(message="hush-4711")
    page = text(staff("view_operation").get(PAGE))
    assert "app.Broken" in page and "hush-4711" not in page
    for codename in ("view_operationjob", "change_operationjob"):
        assert "hush-4711" in text(staff("view_operation", codename).get(PAGE))


def test_more_than_is_looked_at(boss: Client, monkeypatch: Any) -> None:
    for number in range(4):
        gone_wrong(f"app.E{number}", str(number) * 16, ago=timedelta(hours=number))
    monkeypatch.setattr(failed, "LOOKED_AT", 3)
    monkeypatch.setattr(failed, "SHOWN", 2)
    page = text(boss.get(PAGE))
    assert "The newest 3 failures are looked at here." in page
    assert "1 more exception is rarer." in page and "1 more sort of error" in page


def test_nothing_is_taken_for_markup(boss: Client) -> None:
    gone_wrong(EVIL[:200], message=EVIL)
    page = text(boss.get(PAGE))
    assert "<script>alert" not in page and "<img src=x" not in page
    assert escape(EVIL[:20]) in page


def test_the_number_of_queries_does_not_grow(boss: Client) -> None:
    gone_wrong()
    boss.get(PAGE)
    with queries() as few:
        boss.get(PAGE)
    for number in range(10):
        gone_wrong(f"app.E{number}", str(number) * 16, kind=Report)
    with queries() as many:
        boss.get(PAGE)
    assert len(many) == len(few)
