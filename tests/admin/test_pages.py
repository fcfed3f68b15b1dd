"""Every page opens, for every kind and state, and tells what is in it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from operator_app import clock
from operator_app.admin import display
from operator_app.models import Operation, OperationJob, counts, kinds
from operator_app.models import number as number_module
from tests.admin.conftest import STATES, in_state, operator, put
from tests.kinds.models import LongNote, Note, QuickNote, RankUp, Report, Sweep, Tagged

pytestmark = pytest.mark.django_db

LIST = "/kinds/operator_app/operation/"
JOBS = "/kinds/operator_app/operationjob/"
OPERATORS = "/kinds/operator_app/operatorprocess/"
EVIL = "<script>alert('pwned')</script><img src=x onerror=alert(1)>"


def text(response: Any) -> str:
    assert response.status_code == 200, response
    page: str = response.content.decode()
    # No inline script, style or handler: a strict content security policy holds.
    assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")", page)
    assert not re.search(r'<\w+(\s+[\w:-]+(="[^"]*")?)*?\s+(style|on\w+)="', page)
    return page


def shown(response: Any) -> set[int]:
    assert response.status_code == 200, response
    return {row.pk for row in response.context["cl"].result_list}


def page_of(row: Any) -> str:
    return f"/kinds/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"


def test_every_state_has_its_page_and_its_filter(boss: Client) -> None:
    by_state = {state: in_state(state) for state in STATES}
    listed = text(boss.get(LIST))
    for state, operation in by_state.items():
        assert operation.state == state
        assert f'operator-badge operator-{state}"' in listed
        assert shown(boss.get(LIST, {"state": state})) == {operation.pk}
        base = Operation.all_objects.get(pk=operation.pk)
        for row in (base, operation):
            assert f'operator-badge operator-{state}"' in text(boss.get(page_of(row)))
    assert shown(boss.get(LIST)) == {row.pk for row in by_state.values()}
    assert shown(boss.get(LIST, {"state": "nonsense"})) == shown(boss.get(LIST))


def test_every_kind_has_a_page(boss: Client) -> None:
    user = User.objects.create_user("ann")
    made = [
        kind.dispatch(**({"user": user} if kind is RankUp else {}))
        for kind in kinds.all_kinds()
        if kind._meta.app_label == "kinds"
    ]
    assert len(made) >= 12
    listed = text(boss.get(LIST))
    for operation in made:
        assert operation.kind_label in listed
        base = Operation.all_objects.get(pk=operation.pk)
        assert operation.kind_label in text(boss.get(page_of(base)))
        assert shown(boss.get(LIST, {"kind": operation.kind_label})) == {operation.pk}


def test_own_fields_are_shown_and_the_kinds_page_is_linked(boss: Client) -> None:
    report = Report.dispatch(title="Third quarter")
    page = text(boss.get(page_of(Operation.all_objects.get(pk=report.pk))))
    assert "Third quarter" in page
    assert page_of(report) in page
    user = User.objects.create_user("ann")
    page = text(boss.get(page_of(Operation.all_objects.get(pk=RankUp.dispatch(user=user).pk))))
    assert "ann" in page
    page = text(boss.get(page_of(Report.objects.get())))
    assert "Third quarter" in page


def test_a_gone_class_is_still_shown(boss: Client, gone: Operation) -> None:
    listed = text(boss.get(LIST))
    assert "oldshop.sendfax" in listed and "its class is gone" in listed
    assert shown(boss.get(LIST, {"kind": "oldshop.sendfax"})) == {gone.pk}
    assert "oldshop.sendfax" in text(boss.get(page_of(gone)))
    assert "?kind=oldshop.sendfax" in listed


def test_a_gone_operator_is_no_error(boss: Client) -> None:
    for state in ("stuck", "finished"):
        operation = Operation.all_objects.get(pk=in_state(state).pk)
        assert "gone" in text(boss.get(page_of(operation)))
    text(boss.get(LIST))


def test_a_gone_own_row_is_no_error(boss: Client) -> None:
    note = Note.dispatch(text="lost")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM kinds_note WHERE operation_ptr_id = %s", [note.pk])
    text(boss.get(LIST))
    text(boss.get(page_of(Operation.all_objects.get(pk=note.pk))))


def test_lists_start_from_all_operations(boss: Client) -> None:
    cancelled = in_state("cancelled", LongNote)
    quick = QuickNote.dispatch()
    assert shown(boss.get("/kinds/kinds/longnote/")) == {cancelled.pk}
    assert shown(boss.get("/kinds/kinds/note/")) == {cancelled.pk, quick.pk}
    assert shown(boss.get("/kinds/kinds/sweep/")) == set()


def test_nothing_is_taken_for_markup(boss: Client) -> None:
    operation = in_state("failed", text=EVIL)
    put(operation, reason=EVIL, unique_key=EVIL, queue="<b>")
    job = OperationJob.objects.create(
        operation_id=operation.pk,
        number=1,
        operator=EVIL,
        started_at=clock.now(),
        outcome="<i>failed",
        exception_class=EVIL,
        message=EVIL,
        traceback=f"Traceback\n{EVIL}",
        log=EVIL,
        stack=EVIL,
        meta={"a": EVIL},
        progress_done=1,
        progress_total=3,
        progress_message=EVIL,
    )
    process = operator(hostname=EVIL, version="<b>1", queues=[EVIL])
    base = Operation.all_objects.get(pk=operation.pk)
    pages = [LIST, JOBS, OPERATORS, *(page_of(row) for row in (base, operation, job, process))]
    for address in [*pages, f"{LIST}?q={EVIL}", f"{LIST}?kind={EVIL}&queue={EVIL}"]:
        page = text(boss.get(address))
        assert "<script>alert" not in page and "<img src=x" not in page
        assert "<b>" not in page and "<i>failed" not in page
    assert "&lt;script&gt;alert(&#x27;pwned&#x27;)&lt;/script&gt;" in text(boss.get(page_of(job)))


def test_the_attempts_of_an_operation(boss: Client) -> None:
    operation = put(in_state("due"), attempts=12, failures=1)
    for number in range(1, 13):
        OperationJob.objects.create(
            operation_id=operation.pk,
            number=number,
            started_at=clock.now(),
            ended_at=clock.now() + timedelta(seconds=2.5),
            outcome="stopped",
            message=f"message {number};",
        )
    page = text(boss.get(page_of(operation)))
    assert ">message 12;</pre>" in page and ">message 3;</pre>" in page
    assert ">message 2;</pre>" not in page
    assert f"{JOBS}?q={operation.pk}" in page
    assert "2.5 s" in page


def test_attempt_counts_failures_and_not_claims(boss: Client) -> None:
    page = "/kinds/kinds/report/"
    report = put(Report.dispatch(), attempts=9, stops=8)
    assert "1 of 7" in text(boss.get(page))
    put(report, failures=2)
    assert "3 of 7" in text(boss.get(page))
    put(report, failures=7, failed_run_at=clock.now())
    assert "7 of 7" in text(boss.get(page))


def test_queues_are_offered_and_filtered(boss: Client) -> None:
    note, other = Note.dispatch(), Sweep.schedule(timedelta(0), queue="night")
    listed = text(boss.get(LIST))
    for queue in ("notes", "reports", "default", "night"):
        assert f"?queue={queue}" in listed
    assert shown(boss.get(LIST, {"queue": "notes"})) == {note.pk}
    assert shown(boss.get(LIST, {"queue": "night"})) == {other.pk}


def test_search(boss: Client) -> None:
    note = Note.schedule(timedelta(1), text="a", unique_key="invoice-17")
    old = put(in_state("finished"), unique_key="invoice-17")
    keyed = Sweep.schedule(timedelta(1), unique_key="900000000170")
    tagged = Tagged.dispatch(customer=5)
    everything = {note.pk, old.pk, keyed.pk, tagged.pk}
    found = {
        str(note.pk): {note.pk},
        f"#{note.pk}": {note.pk},
        f"kinds.Note:{note.pk}": {note.pk},
        f"kinds.note:{note.pk}": {note.pk},
        f"kinds.Sweep:{note.pk}": set(),
        "invoice-17": {note.pk, old.pk},
        "900000000170": {keyed.pk},
        "customer:5": {tagged.pk},
        "billing": {tagged.pk},
        " billing ": {tagged.pk},
        "operation": everything,
        "": everything,
        "nothing": set(),
        "9" * 19: set(),
        "9" * 40: set(),
        "kinds.Note:" + "9" * 19: set(),
        "no.Such:1": set(),
        "x" * 500: set(),
    }
    for term, ids in found.items():
        assert shown(boss.get(LIST, {"q": term})) == ids, term


def test_a_kinds_own_search_fields_come_on_top(boss: Client) -> None:
    user = User.objects.create_user("ann")
    operation = RankUp.schedule(timedelta(1), user=user, unique_key="promotion")
    RankUp.dispatch(user=User.objects.create_user("bob"))
    for term in ("ann", "promotion", str(operation.pk)):
        assert shown(boss.get("/kinds/kinds/rankup/", {"q": term})) == {operation.pk}, term


def test_jobs(boss: Client) -> None:
    operation = in_state("running")
    made = {"operation_id": operation.pk, "started_at": clock.now()}
    first = OperationJob.objects.create(
        number=1, outcome="retried", exception_class="shop.BankDown", traceback="Traceback", **made
    )
    second = OperationJob.objects.create(number=2, progress_done=1, progress_total=4, **made)
    assert shown(boss.get(JOBS)) == {first.pk, second.pk}
    assert shown(boss.get(JOBS, {"q": str(operation.pk)})) == {first.pk, second.pk}
    assert shown(boss.get(JOBS, {"q": "BankDown"})) == {first.pk}
    assert shown(boss.get(JOBS, {"q": "9" * 19})) == set()
    assert shown(boss.get(JOBS, {"outcome": "retried"})) == {first.pk}
    assert shown(boss.get(JOBS, {"outcome": "running"})) == {second.pk}
    assert "Traceback" in text(boss.get(page_of(first)))
    assert "1 / 4 (25%)" in text(boss.get(page_of(second)))


def test_operators(boss: Client) -> None:
    before = clock.now() - timedelta(hours=1)
    operator(draining=True, queues=["a", "b"])
    lost = operator(alive_until=before)
    declared = operator(lost_at=before)
    busy = in_state("running")
    assert busy.operator is not None
    listed = text(boss.get(OPERATORS))
    assert "operator-alive" in listed and "operator-draining" in listed and "a, b" in listed
    assert listed.count("operator-lost") == 2
    holds = f"{LIST}?operator={busy.operator_id}&state=running"
    assert holds in listed.replace("&amp;", "&")
    assert shown(boss.get(holds)) == {busy.pk}
    for row in (lost, declared, busy.operator):
        text(boss.get(page_of(row)))


@pytest.mark.parametrize("address", [LIST, "/kinds/kinds/rankup/", JOBS, OPERATORS])
def test_queries_do_not_grow_with_rows(boss: Client, address: str) -> None:
    user = User.objects.create_user("ann")

    def more(count: int) -> None:
        for number in range(count):
            state = STATES[number % len(STATES)]
            operation = in_state(state, RankUp, user=user)
            OperationJob.objects.create(operation_id=operation.pk, number=1, started_at=clock.now())
            operator()

    def queries() -> list[str]:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            text(boss.get(address))
        return [query["sql"] for query in captured]

    more(10)
    boss.get(address)  # Content types are asked for once in the life of a process.
    few = queries()
    more(90)
    many = queries()
    assert len(few) == len(many), "\n".join(many)
    assert len(many) <= 13
    assert not any("DISTINCT" in sql for sql in many)
    assert all("LIMIT" in sql for sql in many if "COUNT(*) FROM" in sql or "COUNT(*) AS" in sql)


def test_the_queries_of_a_page_do_not_grow_with_attempts(boss: Client) -> None:
    operation = in_state("running")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            text(boss.get(page_of(operation)))
        return len(captured)

    before = queries()
    for number in range(5):
        OperationJob.objects.create(
            operation_id=operation.pk, number=number, started_at=clock.now()
        )
    assert queries() == before


@pytest.mark.parametrize("separators", [False, True])
def test_the_count_is_capped(
    boss: Client, monkeypatch: pytest.MonkeyPatch, settings: Any, separators: bool
) -> None:
    for module in (counts, number_module):
        monkeypatch.setattr(module, "CAP", 120)
    settings.USE_THOUSAND_SEPARATOR = separators
    Sweep.schedule_many([Sweep(should_run_at=clock.now()) for _ in range(120)])
    listed = text(boss.get(LIST))
    assert "120 operations" in listed and "more than" not in listed
    Sweep.dispatch()
    listed = text(boss.get(LIST))
    assert ("120 operations" if separators else "more than 120 operations") in listed
    assert boss.get(LIST, {"p": 1}).status_code == 200


def test_sorting_and_broken_parameters(boss: Client) -> None:
    in_state("due")
    for query in ("o=1", "o=-4", "o=99", "p=7", "p=x", "all=", "nonsense=1", "operator=x"):
        assert boss.get(f"{LIST}?{query}").status_code in (200, 302), query


def test_the_sites_own_name_is_used(boss: Client) -> None:
    operation = in_state("due")
    assert "/kinds/operator_app/operation/?q=" in text(boss.get(page_of(operation)))
    base = reverse("admin:operator_app_operation_change", args=[operation.pk])
    assert base.startswith("/admin/")
    assert 'href="/kinds/' not in text(boss.get(base))


def test_history_and_autocomplete(boss: Client) -> None:
    operation = in_state("due", RankUp, user=User.objects.create_user("ann"))
    text(boss.get(page_of(operation).replace("change", "history")))
    asked = {"term": "an", "app_label": "kinds", "model_name": "rankup", "field_name": "user"}
    assert boss.get("/kinds/autocomplete/", asked).json()["results"][0]["text"] == "ann"


def test_the_style_sheet_is_there(boss: Client) -> None:
    from django.contrib.staticfiles import finders

    assert 'href="/static/operator_app/admin.css"' in text(boss.get(LIST))
    assert finders.find("operator_app/admin.css")


@pytest.mark.parametrize(
    ("seconds", "full", "short"),
    [
        (0, "now", "now"),
        (5, "in 5 seconds", "in 5 s"),
        (-1, "1 second ago", "1 s ago"),
        (-90, "1 minute ago", "1 min ago"),
        (7500, "in 2 hours, 5 minutes", "in 2 h"),
        (-86400 * 8, "1 week, 1 day ago", "1 wk ago"),
    ],
)
def test_relative_words(seconds: int, full: str, short: str) -> None:
    now = clock.now()
    moment = now + timedelta(seconds=seconds)
    assert display.ago(moment, now).replace("\xa0", " ") == full
    assert display.ago(moment, now, short=True).replace("\xa0", " ") == short
