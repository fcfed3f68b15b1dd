"""What the page of one operation shows around its form."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from operator_app import clock
from operator_app.admin import attempts
from operator_app.models import Operation, OperationJob, Pause, Recurrence, kinds
from tests.admin.conftest import STATES, in_state, operator, put
from tests.admin.test_pages import page_of, text
from tests.kinds.models import LongNote, Mailing, Note, RankUp, Sweep

pytestmark = pytest.mark.django_db

TRACEBACK = """\
Traceback (most recent call last):
  File "/srv/shop/<models>.py", line 4, in run
    self.order.pay()
  File "/venv/lib/python3.12/site-packages/django/db/models/query.py", line 9, in get
    raise self.model.DoesNotExist
  File "/venv/lib/python3.12/site-packages/psycopg/cursor.py", line 9, in execute
    raise error
shop.Order.DoesNotExist: <none>
"""


def base(operation: Operation) -> Operation:
    return Operation.all_objects.get(pk=operation.pk)


def job(operation: Operation, number: int = 1, **values: Any) -> OperationJob:
    now = clock.now()
    given = {"started_at": now - timedelta(seconds=12), "ended_at": now, "outcome": "retried"}
    return OperationJob.objects.create(
        operation_id=operation.pk, number=number, **{**given, **values}
    )


def ran(kind: type[Operation] = Note, *, seconds: float = 3, **values: Any) -> Operation:
    """An operation that has finished."""
    now = clock.now()
    given = {"started_run_at": now - timedelta(seconds=seconds), "finished_run_at": now}
    return put(kind.dispatch(), **{"attempts": 1, **given, **values})


def section(page: str, name: str) -> str:
    found = re.search(rf'<section class="[^"]*operator-{name}[" ].*?</section>', page, re.DOTALL)
    return found[0] if found else ""


# Timeline


@pytest.mark.parametrize("state", STATES)
def test_the_timeline_of_every_state(boss: Client, state: str) -> None:
    operation = in_state(state)
    for row in (operation, base(operation)):
        found = section(text(boss.get(page_of(row))), "timeline")
        assert "<ol>" in found and "Created" in found
        claimed = state in ("running", "stuck", "finished", "failed", "cancelled")
        assert ("Claimed by" in found) is claimed
        assert ("operator-ahead" in found) is (state == "scheduled")


def test_the_timeline_names_the_gaps(boss: Client) -> None:
    operation = in_state("due")
    job(operation, message="<closed>")
    put(operation, attempts=1, failures=1, should_run_at=clock.now() + timedelta(seconds=100))
    found = section(text(boss.get(page_of(operation))), "timeline")
    assert "ran 12 s" in found and "backs off 1" in found and "&lt;closed&gt;" in found


def test_the_timeline_tells_of_a_pause(boss: Client) -> None:
    operation = in_state("due")
    Pause.objects.pause(queue="notes", reason="stocktaking")
    Pause.objects.pause(queue="others", reason="elsewhere")
    found = section(text(boss.get(page_of(operation))), "timeline")
    assert "stocktaking" in found and "elsewhere" not in found


def test_what_attempts_say_is_for_those_who_see_them(staff: Callable[..., Client]) -> None:
    operation = in_state("scheduled")
    job(operation, message="secret")
    put(operation, attempts=1, failures=1)
    page = page_of(operation)
    assert "secret" not in text(staff("view_note").get(page))
    shown = text(staff("view_note", "view_operationjob").get(page))
    assert "secret" in section(shown, "timeline") and "secret" in section(shown, "reasons")


# Why it is not running


def test_why_it_does_not_run(boss: Client) -> None:
    operation = in_state("due")
    for row in (operation, base(operation)):
        found = section(text(boss.get(page_of(row))), "reasons")
        assert "No operator lives" in found and "operator-alarming" in found
    calm = section(text(boss.get(page_of(in_state("running")))), "reasons")
    assert "claimed by worker:4711" in calm and "operator-alarming" not in calm
    stuck = in_state("stuck")
    assert "It is stuck" in section(text(boss.get(page_of(stuck))), "reasons")
    for state in ("finished", "failed", "cancelled"):
        assert section(text(boss.get(page_of(in_state(state)))), "reasons") == ""


# Tracebacks


def test_a_traceback_is_folded_where_libraries_are(boss: Client) -> None:
    operation = in_state("failed")
    failed = job(operation, outcome="failed", traceback=TRACEBACK)
    for row in (operation, failed):
        page = text(boss.get(page_of(row)))
        own = re.search(
            r'<pre class="operator-call operator-own-call">(.*?)</pre>', page, re.DOTALL
        )
        assert own and "&lt;models&gt;.py" in own[1] and "django" not in own[1]
        folded = re.search(r'<details class="operator-library">(.*?)</details>', page, re.DOTALL)
        assert folded and "2 calls in django, psycopg" in folded[1]
        assert "query.py" in folded[1] and "cursor.py" in folded[1]
        assert "shop.Order.DoesNotExist: &lt;none&gt;" in page


def test_nothing_is_folded_where_all_is_library(boss: Client) -> None:
    operation = in_state("failed")
    lines = TRACEBACK.split("\n")
    job(operation, outcome="failed", traceback="\n".join(lines[:1] + lines[3:]))
    page = text(boss.get(page_of(operation)))
    assert "operator-library" not in page and "query.py" in page


@pytest.mark.parametrize("garbage", ["nothing to read", "  File", "\n\n", "… cut …", "x" * 70_000])
def test_what_cannot_be_read_is_shown_as_it_is(boss: Client, garbage: str) -> None:
    operation = in_state("failed")
    job(operation, outcome="failed", traceback=garbage)
    assert garbage.strip() in text(boss.get(page_of(operation)))


# The stack


def stack_of(row: Operation) -> str:
    return page_of(row).replace("/change/", "/stack/")


def test_asking_for_the_stack(boss: Client) -> None:
    running = in_state("running")
    for row in (running, base(running)):
        put(running, stack_requested_at=None)
        page = text(boss.get(page_of(row)))
        assert f'action="{stack_of(row)}"' in page
        assert "Nobody has asked" in section(page, "stack")
        assert "operation.js" not in page
        answer = boss.post(stack_of(row), follow=True)
        assert answer.redirect_chain == [(f"{page_of(row)}#operator-stack", 302)]
        assert base(row).stack_requested_at is not None
        page = text(answer)
        assert "data-operator-waits" in section(page, "stack")
        assert '<script src="/static/operator_app/operation.js" defer></script>' in page
        assert "data-operator-waits" in text(boss.get(stack_of(row)))


def test_the_stack_when_it_is_there(boss: Client) -> None:
    running = in_state("running")
    job(running, outcome=None, ended_at=None, stack='As of now:\n  File "<a>", line 1, in run\n')
    for address in (page_of(running), stack_of(running)):
        found = section(text(boss.get(address)), "stack")
        assert "File &quot;&lt;a&gt;&quot;, line 1" in found
        assert "data-operator-waits" not in found


def test_the_stack_of_an_earlier_attempt_is_not_that_of_this_one(boss: Client) -> None:
    running = put(in_state("running"), attempts=2)
    job(running, number=1, stack="earlier")
    assert "earlier" not in section(text(boss.get(page_of(running))), "stack")


def test_what_has_ended_has_no_stack(boss: Client) -> None:
    finished = in_state("finished")
    page = text(boss.get(page_of(finished)))
    assert section(page, "stack") == "" and "/stack/" not in page
    assert "has no stack" in text(boss.post(stack_of(finished), follow=True))
    # So that a page which waits for one finds out.
    assert "data-operator-stack" not in text(boss.get(stack_of(finished)))
    assert boss.get(stack_of(finished).replace(str(finished.pk), "999999")).status_code == 404


def test_who_may_ask_for_the_stack(staff: Callable[..., Client]) -> None:
    running = in_state("running")
    sees = ("view_note", "view_operationjob")
    for given, may_see, may_ask in [
        (("view_note",), False, False),
        (sees, True, False),
        (("view_note", "change_note"), False, False),
        ((*sees, "change_note"), True, True),
        (("view_operationjob",), False, False),
    ]:
        client = staff(*given)
        put(running, stack_requested_at=None)
        assert (client.get(stack_of(running)).status_code == 200) is may_see, given
        page = client.get(page_of(running))
        if page.status_code == 200:
            assert ("Ask for its stack" in text(page)) is may_ask, given
        assert client.post(stack_of(running)).status_code == (302 if may_ask else 403), given
        assert (base(running).stack_requested_at is not None) is may_ask, given


def test_asking_takes_a_csrf_token() -> None:
    running = in_state("running")
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("careful"))
    assert client.post(stack_of(running)).status_code == 403
    assert base(running).stack_requested_at is None


# Earlier runs


def test_earlier_runs_of_the_same_kind(boss: Client) -> None:
    first, second = ran(seconds=3), ran(seconds=4.5)
    ran(LongNote)
    pending = in_state("due")
    for row in (pending, base(pending)):
        found = section(text(boss.get(page_of(row))), "runs")
        for run in (first, second):
            assert f"#{run.pk}</a>" in found
        assert "4.5 s" in found and "2 runs" in found and "<svg" in found
        assert "this one" not in found
        assert f"/{row._meta.model_name}/{first.pk}/change/" in found
    found = section(text(boss.get(page_of(second))), "runs")
    assert f"<strong>#{second.pk}</strong>" in found and "this one" in found


def test_one_run_is_no_chart(boss: Client) -> None:
    assert section(text(boss.get(page_of(ran()))), "runs") == ""


def test_runs_of_a_kind_whose_class_is_gone(boss: Client, gone: Operation) -> None:
    put(gone, started_run_at=clock.now(), finished_run_at=clock.now(), attempts=1)
    other = put(Note.dispatch(), kind=gone.kind, started_run_at=clock.now())
    put(other, failed_run_at=clock.now())
    assert "2 runs" in section(text(boss.get(page_of(base(other)))), "runs")


# What it belongs to


def test_related_rows_are_links_for_those_who_may_open_them(
    boss: Client, staff: Callable[..., Client]
) -> None:
    ann, bob = User.objects.create_user("ann<b>"), User.objects.create_user("bob")
    mailing = Mailing.dispatch(sender=ann)
    mailing.receivers.set([ann, bob])
    page = page_of(base(mailing))
    shown = text(boss.get(page))
    links = re.findall(r'<a href="(/kinds/auth/user/\d+/change/)">(.*?)</a>', shown)
    assert sorted(links) == sorted([(page_of(ann), "ann&lt;b&gt;")] * 2 + [(page_of(bob), "bob")])
    shown = text(staff("view_operation", "view_mailing").get(page))
    assert "ann&lt;b&gt;" in shown and "/kinds/auth/user/" not in shown


def test_a_related_row_without_pages_is_named(boss: Client) -> None:
    operation = RankUp.dispatch(user=User.objects.create_user("ann"))
    page = base(operation)
    address = f"/admin/operator_app/operation/{page.pk}/change/"
    assert "ann" in text(boss.get(address))


def test_the_recurrence_that_made_it(boss: Client) -> None:
    recurrence = Recurrence.objects.create(
        name="nightly", kind=kinds.content_type(Sweep, "default"), expression="0 3 * * *"
    )
    made = recurrence.run_now()
    for row in (made, base(made)):
        page = text(boss.get(page_of(row)))
        assert f'<a href="{page_of(recurrence)}">nightly</a>' in page
    assert "recurrence" not in section(text(boss.get(page_of(in_state("due")))), "reasons")
    assert "field-recurrence" not in text(boss.get(page_of(in_state("due"))))


# The whole of it


@pytest.mark.parametrize("state", STATES)
def test_the_queries_are_few_and_constant(boss: Client, state: str) -> None:
    operation = base(in_state(state, Mailing, sender=User.objects.create_user("ann")))

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            text(boss.get(page_of(operation)))
        return len(captured)

    queries()  # Content types are asked for once.
    before = queries()
    assert before <= 27
    for number in range(1, 9):
        job(operation, number=number, traceback=TRACEBACK)
        ran(Mailing)
        operator()
    put(operation, attempts=max(operation.attempts, 8))
    assert queries() <= before + 1


def test_the_number_of_attempts_is_bounded(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "SHOWN", 2)
    operation = put(in_state("due"), attempts=5)
    for number in range(1, 6):
        job(operation, number=number, log=f"log of {number};")
    page = text(boss.get(page_of(operation)))
    assert "log of 5;" in page and "log of 4;" in page and "log of 3;" not in page


def test_pages_on_a_site_that_has_no_other_pages(boss: Client) -> None:
    Group.objects.create(name="unused")
    for state in STATES:
        operation = base(in_state(state))
        text(boss.get(f"/admin/operator_app/operation/{operation.pk}/change/"))
