"""Final failures: the notice in the same transaction, its handlers, the two that are shipped."""

from __future__ import annotations

import json
import logging
import smtplib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.error import HTTPError, URLError
from uuid import uuid4

import django
import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from operator_app import CircuitBreaker, clock, failures
from operator_app.checks import check_settings
from operator_app.models import FailureNotice, Operation, OperationJob, OperatorProcess, records
from operator_app.outcomes import Failed
from operator_app.reports import ErrorReport
from operator_app.testing import run_due
from tests.kinds.models import Note, Scripted
from tests.models.tools import (
    claim_all,
    claimed_job,
    living_operator,
    queries,
    raises,
    scripted,
    stored,
    write,
)

pytestmark = pytest.mark.django_db
HERE = "tests.test_failures"
# Pairs are deprecated from Django 6.0 on, before which there was nothing else.
ADMINS = ["ada@example.com"] if django.VERSION >= (6,) else [("Ada", "ada@example.com")]
calls: list[tuple[str, Any, Any, Any]] = []
broken: list[BaseException] = []


def first(operation: Any, job: Any, error: Any) -> None:
    calls.append(("first", operation, job, error))


def second(operation: Any, job: Any, error: Any) -> None:
    calls.append(("second", operation, job, error))
    if broken:
        raise broken.pop()


def third(operation: Any, job: Any, error: Any) -> None:
    calls.append(("third", operation, job, error))


async def coroutine(operation: Any, job: Any, error: Any) -> None:
    """No handler: it is async."""


def two(operation: Any, job: Any) -> None:
    """No handler: it takes two arguments."""


TOLD = {"ON_FAILURE": [f"{HERE}.first", f"{HERE}.second"]}


@pytest.fixture(autouse=True)
def _forget() -> None:
    calls.clear()
    broken.clear()
    Scripted.forget()


def attempt(operation: Operation, operator: OperatorProcess) -> OperationJob:
    write(operation, should_run_at=clock.now())
    job = claimed_job(operation, operator)
    job.run()
    assert Operation.all_objects.record([job])
    return job


@pytest.fixture
def operator() -> OperatorProcess:
    return living_operator()


def failed_note(reason: str = "ValueError: no") -> Note:
    """A note that has failed, without having run."""
    note = Note.dispatch(text="x")
    write(note, failed_run_at=clock.now(), reason=reason, started_run_at=clock.now(), attempts=1)
    note.refresh_from_db()
    return note


def job_of(note: Operation, **fields: Any) -> OperationJob:
    return OperationJob(
        operation=note, number=1, started_at=clock.now(), ended_at=clock.now(), **fields
    )


REPORT = ErrorReport("ValueError", "no", "Traceback ...\nValueError: no")

# The notice


@override_settings(OPERATOR=TOLD)
def test_the_handlers_are_told_once_when_it_has_failed_for_good(operator: OperatorProcess) -> None:
    wrong = scripted(raises(ValueError("no")), queue="mail")
    for _ in range(2):
        attempt(wrong, operator)
        assert not FailureNotice.objects.exists(), "it will be tried again"
    attempt(wrong, operator)
    notice = FailureNotice.objects.get()
    assert (notice.failed_operation_id, notice.number, notice.queue) == (wrong.pk, 3, "mail")
    assert notice.state == "due" and notice.told == []
    [job] = run_due()
    assert job.outcome == "finished" and job.operation_id == notice.pk
    assert [name for name, *_ in calls] == ["first", "second"]
    _, operation, failed, error = calls[0]
    assert type(operation) is Scripted and operation == wrong and operation.state == "failed"
    assert failed == OperationJob.objects.get(operation=wrong, number=3)
    assert (error.exception_class, error.message) == ("ValueError", "no")
    assert "Traceback" in error.traceback
    assert run_due() == []


def test_nothing_is_inserted_where_nobody_is_to_be_told(operator: OperatorProcess) -> None:
    attempt(Note.dispatch(), operator)
    wrong = scripted(raises(ValueError("no")))
    write(wrong, failures=2)
    with queries("INSERT") as inserts:
        attempt(wrong, operator)
    assert stored(wrong).state == "failed" and not FailureNotice.objects.exists()
    assert len(inserts) == 1, "its job"


@override_settings(OPERATOR=TOLD)
def test_the_notice_and_the_failure_are_one_transaction(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the notice there is no failure; and a lost claim leaves neither."""
    wrong = scripted(raises(ValueError("no")))
    write(wrong, failures=2)
    job = claimed_job(wrong, operator)
    job.run()

    def fails(*args: Any) -> None:
        raise RuntimeError("no notice")

    with monkeypatch.context() as patch:
        patch.setattr(records, "give_notice", fails)
        with pytest.raises(RuntimeError):
            Operation.all_objects.record([job])
    assert stored(wrong).failed_run_at is None
    write(wrong, attempts=9)
    assert Operation.all_objects.record([job]) == []
    assert not FailureNotice.objects.exists()


@override_settings(OPERATOR=TOLD)
def test_many_failures_cost_two_inserts_more(operator: OperatorProcess) -> None:
    Note.schedule_many([Note(should_run_at=clock.now()) for _ in range(7)])
    jobs = [OperationJob.of(row, "host:1") for row in claim_all(operator)]
    for job in jobs:
        job.end_as(Failed("broken"))
    Operation.all_objects.record(jobs[:1])
    with queries("INSERT") as inserts:
        Operation.all_objects.record(jobs[1:])
    assert len(inserts) == 3
    assert FailureNotice.objects.values("failed_operation").distinct().count() == 7
    assert not FailureNotice.objects.exclude(should_run_at__lte=clock.now()).exists()


@pytest.mark.parametrize(
    "unique",
    [lambda operation: f"customer {operation.customer_id}", lambda operation: "the same"],
    ids=["about columns that a notice does not have", "one for all"],
)
def test_what_a_project_says_of_its_own_operations_keeps_no_notice_back(
    operator: OperatorProcess, unique: Any
) -> None:
    """Neither its keys, which are made of their columns, nor its circuit breaker, which would have
    nobody told that it is open."""
    breaker = CircuitBreaker(on=(Exception,), failures=1)
    with override_settings(
        OPERATOR=TOLD | {"POLICY": {"unique": unique, "circuit_breaker": breaker}}
    ):
        policy = FailureNotice.resolved_policy()
        assert (policy.unique, policy.circuit_breaker) == (None, None)
        for _ in range(2):
            wrong = scripted(raises(ValueError("no")), unique_key=f"{uuid4()}")
            write(wrong, failures=2)
            attempt(wrong, operator)
            assert stored(wrong).state == "failed"
        assert FailureNotice.objects.count() == 2


@override_settings(OPERATOR=TOLD)
def test_one_that_a_rescuer_fails_gives_notice(operator: OperatorProcess) -> None:
    from operator_app.duties.rescue import rescue_deserted

    note = Note.dispatch()
    claim_all(operator)
    write(note, crashes=2, begun_run_at=clock.now())
    OperatorProcess.objects.update(lost_at=clock.now())
    rescue_deserted("default", clock.now(), OperationJob.call_hooks)
    assert stored(note).state == "failed" and stored(note).crashes == 3
    run_due()
    _, operation, job, error = calls[0]
    assert operation == note and job.outcome == "failed"
    assert error.exception_class == "operator_app.exceptions.OperatorLost"


@override_settings(OPERATOR=TOLD)
def test_dispatch_now_gives_notice() -> None:
    name = Scripted.does("fails", raises(ValueError("no")))
    with pytest.raises(ValueError, match="no"):
        Scripted.dispatch_now(script=name)
    run_due()
    assert [name for name, *_ in calls] == ["first", "second"]


@override_settings(OPERATOR=TOLD)
def test_one_whose_history_cannot_be_stored_gives_notice(operator: OperatorProcess) -> None:
    def fails(operation: Operation) -> None:
        operation.job.meta["what"] = object()
        raise ValueError("no")

    wrong = scripted(fails)
    write(wrong, failures=2)
    attempt(wrong, operator)
    assert not OperationJob.objects.exists()
    run_due()
    _, operation, job, error = calls[0]
    assert operation == wrong and (job.operation_id, job.number) == (wrong.pk, 1)
    assert error.message == "ValueError: no", "the reason, for want of more"


@override_settings(OPERATOR=TOLD)
def test_a_handler_that_has_succeeded_is_not_called_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The others are, with the backoff of any operation; what failed is not touched."""
    failed = scripted(raises(ValueError("no")))
    write(failed, failures=2)
    broken[:] = [SystemExit(3), OSError("no network")]
    jobs = run_due()
    before = Operation.all_objects.filter(pk=failed.pk).values().get()
    assert [job.outcome for job in jobs] == ["failed", "retried"]
    notice = FailureNotice.objects.get()
    assert notice.told == [f"{HERE}.first"] and notice.failures == 1
    assert "OSError: no network" in caplog.text
    later = clock.now()
    for expected in ("retried", "finished"):
        later += timedelta(hours=1)
        assert [job.outcome for job in run_due(now=later)] == [expected]
    assert [name for name, *_ in calls] == ["first", "second", "second", "second"]
    assert Operation.all_objects.filter(pk=failed.pk).values().get() == before
    assert not Operation.objects.failed().exclude(pk=failed.pk).exists()


@override_settings(OPERATOR={"ON_FAILURE": [f"{HERE}.{n}" for n in ("second", "gone", "third")]})
def test_each_handler_gets_its_chance(caplog: pytest.LogCaptureFixture) -> None:
    """The errors of all are seen: the last as the notice's own, the others in the log."""
    scripted(raises(ValueError("no")), priority=1)
    Scripted.objects.update(queue="q")
    Operation.all_objects.update(failures=2)
    broken.append(OSError("no network"))
    with caplog.at_level(logging.ERROR, "operator_app"):
        _, job = run_due()
    assert [name for name, *_ in calls] == ["second", "third"]
    assert job.exception_class == "ImportError"
    raised = [r for r in caplog.records if getattr(r, "action", "") == "handler_raised"]
    assert [str(r.exc_info[1]) for r in raised if r.exc_info] == ["no network"]
    assert FailureNotice.objects.get().told == [f"{HERE}.third"]


@override_settings(OPERATOR=TOLD)
def test_a_notice_that_fails_raises_no_other() -> None:
    failed = scripted(raises(ValueError("no")))
    write(failed, failures=2)
    broken[:] = [OSError("no network") for _ in range(20)]
    now = clock.now()
    for _ in range(20):
        run_due(now=now)
        now += timedelta(hours=2)
    notice = FailureNotice.objects.get()
    assert notice.state == "failed" and notice.failures == 6
    assert [name for name, *_ in calls] == ["first"] + ["second"] * 6


@override_settings(OPERATOR=TOLD)
def test_a_deleted_operation_takes_its_notice_along(operator: OperatorProcess) -> None:
    wrong = scripted(raises(ValueError("no")))
    write(wrong, failures=2)
    attempt(wrong, operator)
    assert FailureNotice.objects.exists()
    Operation.all_objects.filter(pk=wrong.pk).delete()
    assert not Operation.all_objects.exists() and run_due() == []


@override_settings(OPERATOR=TOLD)
def test_one_that_is_retried_and_fails_again_gives_notice_again() -> None:
    failed = scripted(raises(ValueError("no")))
    for number in (1, 2):
        write(failed, failures=2)
        run_due()
        assert FailureNotice.objects.filter(number=number).exists()
        assert Operation.objects.filter(pk=failed.pk).retry() == 1
    assert len(calls) == 4


WEAK = {
    "atomic": True,
    "max_attempts": 1,
    "max_crashes": 1,
    "max_stops": 0,
    "on_stuck": "fail",
    "timeout": 1,
    "expires_after": 1,
    "give_up_on": (Exception,),
    "runner": "inline",
}


@override_settings(OPERATOR={**TOLD, "POLICY": WEAK})
def test_the_projects_policy_does_not_weaken_notices() -> None:
    policy = FailureNotice.resolved_policy()
    assert policy.atomic is False and policy.max_attempts == policy.max_crashes == 6
    for name, weak in WEAK.items():
        assert getattr(policy, name) != weak, name


# Mail


@override_settings(ADMINS=ADMINS)
def test_the_admins_get_a_mail() -> None:
    note = failed_note("ValueError: two\nlines")
    job = job_of(note, operator="host:7", log="12:00 INFO x: careful")
    failures.mail_admins(note, job, REPORT)
    [message] = mail.outbox
    assert message.to == ["ada@example.com"]
    assert f"kinds.Note #{note.pk} failed: ValueError: two lines" in message.subject
    for part in ("ValueError: no", "host:7", "careful", "Queue: notes"):
        assert part in message.body


@override_settings(ADMINS=ADMINS)
def test_a_long_reason_fits_into_a_subject() -> None:
    note = failed_note("x" * 255)
    failures.mail_admins(note, job_of(note), REPORT)
    assert len(mail.outbox[0].subject) < 260


@override_settings(ADMINS=[])
def test_without_admins_there_is_no_mail() -> None:
    note = failed_note()
    failures.mail_admins(note, job_of(note), REPORT)
    assert mail.outbox == []


@override_settings(
    ADMINS=ADMINS,
    OPERATOR={"ON_FAILURE": ["operator_app.failures.mail_admins"]},
)
def test_a_mail_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(**kwargs: Any) -> None:
        raise smtplib.SMTPServerDisconnected("down")

    failed = scripted(raises(ValueError("no")))
    write(failed, failures=2)
    with monkeypatch.context() as patch:
        patch.setattr(failures, "mail_to_admins", down)
        assert [job.outcome for job in run_due()] == ["failed", "retried"]
    assert [job.outcome for job in run_due(now=clock.now() + timedelta(hours=1))] == ["finished"]
    assert len(mail.outbox) == 1


# Slack


class Webhook(BaseHTTPRequestHandler):
    """Answers as `status` says, and keeps what it was sent."""

    status: ClassVar[int] = 200
    delay: ClassVar[float] = 0.0
    got: ClassVar[list[tuple[str, Any, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, self.headers["Content-Type"], json.loads(body)))
        time.sleep(self.delay)
        self.send_response(self.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.got.append((self.path, "", ""))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[type[Webhook]]:
    Webhook.got.clear()
    monkeypatch.setattr(Webhook, "status", 200)
    monkeypatch.setattr(Webhook, "delay", 0.0)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    settings.OPERATOR = {
        "ON_FAILURE": ["operator_app.failures.post_to_slack"],
        "SLACK_URL": f"http://127.0.0.1:{server.server_port}/hook",
    }
    yield Webhook
    server.shutdown()
    server.server_close()


def test_a_message_is_posted(webhook: type[Webhook]) -> None:
    failed = scripted(raises(ValueError("<no> & never")))
    write(failed, failures=2)
    assert [job.outcome for job in run_due()] == ["failed", "finished"]
    [(path, kind, message)] = webhook.got
    assert (path, kind) == ("/hook", "application/json")
    assert message.keys() == {"text"}
    label = f"kinds.Scripted #{failed.pk}"
    expected = f"{label} has failed for good: ValueError: &lt;no&gt; &amp; never"
    assert message["text"].startswith(expected)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_that_is_none_is_an_error(
    webhook: type[Webhook], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(Webhook, "status", status)
    note = failed_note()
    with pytest.raises(HTTPError) as caught:
        failures.post_to_slack(note, job_of(note), REPORT)
    caught.value.close()
    assert caught.value.code == status
    assert [path for path, *_ in webhook.got] == ["/hook"], "no redirect is followed"


def test_a_silent_server_is_not_waited_for(
    webhook: type[Webhook], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Webhook, "delay", 1.0)
    monkeypatch.setattr(failures, "POST_TIMEOUT", 0.1)
    note, before = failed_note(), time.monotonic()
    with pytest.raises((TimeoutError, URLError)):
        failures.post_to_slack(note, job_of(note), REPORT)
    assert time.monotonic() - before < 0.9


def test_without_a_url_nothing_can_be_posted() -> None:
    note = failed_note()
    with pytest.raises(ImproperlyConfigured, match="SLACK_URL"):
        failures.post_to_slack(note, job_of(note), REPORT)


# The checks


def found(options: dict[str, Any]) -> list[tuple[str, str]]:
    with override_settings(OPERATOR=options):
        return [(str(message.id)[-4:], message.msg) for message in check_settings(None)]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("nowhere.at_all", "cannot be imported"),
        ("first", "cannot be imported"),
        (f"{HERE}.missing", "cannot be imported"),
        (f"{HERE}.HERE", "not a function"),
        (f"{HERE}.coroutine", "async"),
        (f"{HERE}.two", "three arguments"),
        ("operator_app.failures.post_to_slack", "SLACK_URL"),
    ],
)
def test_a_check_finds_what_cannot_be_called(path: str, problem: str) -> None:
    [(number, message)] = found({"ON_FAILURE": [f"{HERE}.first", path]})
    assert number == "E013" and problem in message and path in message


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/x", "hooks.slack.com/x", 7, None, b"https://x"]
)
def test_a_check_finds_a_bad_url_and_does_not_show_it(url: object) -> None:
    [(number, message)] = found({"SLACK_URL": url})
    assert number == "E001" and "https://" in message and "passwd" not in message


@pytest.mark.parametrize("value", ["a.b", 7, None, [7]])
def test_a_check_finds_a_bad_list(value: object) -> None:
    [(number, message)] = found({"ON_FAILURE": value})
    assert number == "E001" and "ON_FAILURE" in message


def test_what_is_right_is_not_reported() -> None:
    paths = [f"{HERE}.first", "operator_app.failures.mail_admins"]
    assert found({"ON_FAILURE": paths}) == []
    slack = {"ON_FAILURE": ["operator_app.failures.post_to_slack"], "SLACK_URL": "https://x.org/y"}
    assert found(slack) == []
