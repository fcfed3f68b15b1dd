"""The log of an attempt: its own records, all of them, no others; and nothing else is changed."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess, capture
from operator_app.testing import run_due
from tests.databases import ROOT
from tests.kinds.models import AsyncNote, Scripted
from tests.models.tools import Make, Thread, claim_all, claimed_job, nothing, raises, scripted

pytestmark = pytest.mark.django_db
logger = logging.getLogger("shop.orders")


@pytest.fixture(autouse=True)
def _verbose() -> Iterator[None]:
    """Let the loggers of the project make records of every level, as its LOGGING would."""
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(before)


def says(*lines: str, level: int = logging.INFO) -> Any:
    def script(operation: Operation) -> None:
        for line in lines:
            logger.log(level, line)

    return script


def log_of(operation: Operation) -> str:
    return OperationJob.objects.get(operation=operation).log


def test_what_a_run_logs_is_kept_with_its_job() -> None:
    operation = scripted(says("packed 3 boxes", "sent"))
    [job] = run_due()
    lines = log_of(operation).splitlines()
    assert len(lines) == 2 and lines[0].endswith("INFO shop.orders: packed 3 boxes")
    assert job.outcome == "finished"


def test_each_attempt_has_its_own() -> None:
    def script(operation: Operation) -> None:
        logger.info("attempt %d", operation.job.number)
        raise ValueError("no")

    operation = scripted(script)
    for hour in range(3):
        run_due(now=clock.now() + timedelta(hours=hour))
    logs = operation.jobs.order_by("number").values_list("log", flat=True)
    assert [line.rpartition(": ")[2] for line in logs] == ["attempt 1", "attempt 2", "attempt 3"]


def test_a_quiet_run_has_no_row() -> None:
    logger.info("before")
    scripted(nothing)
    run_due()
    assert not OperationJob.objects.exists()


@pytest.mark.parametrize(
    ("level", "kept"),
    [("DEBUG", ["debug", "info", "error"]), ("INFO", ["info", "error"]), ("ERROR", ["error"])],
)
def test_the_level_is_a_setting(level: str, kept: list[str]) -> None:
    def script(operation: Operation) -> None:
        logger.debug("debug")
        logger.info("info")
        logger.error("error")

    operation = scripted(script)
    with override_settings(OPERATOR={"LOG_LEVEL": level}):
        run_due()
    assert [line.rpartition(": ")[2] for line in log_of(operation).splitlines()] == kept


def test_a_logger_that_does_not_propagate_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])
    operation = scripted(says("alone"))
    run_due()
    assert "alone" in log_of(operation)


def test_the_traceback_of_an_exception_is_kept() -> None:
    def script(operation: Operation) -> None:
        try:
            raise LookupError("no such order")
        except LookupError:
            logger.exception("went on without it")

    operation = scripted(script)
    run_due()
    text = log_of(operation)
    assert "went on without it" in text and "Traceback" in text
    assert "LookupError: no such order" in text


def test_the_engines_own_lines_are_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    operation = scripted(raises(ValueError("no")))
    with caplog.at_level(logging.DEBUG):
        run_due()
    assert "retried" in caplog.text and log_of(operation) == ""


def test_it_is_capped_and_says_so() -> None:
    operation = scripted(says(*(f"{n:05d} {'x' * 1000}" for n in range(200))))
    run_due()
    text = log_of(operation)
    assert len(text) < capture.LIMIT + 100 and "earlier lines were dropped" in text
    assert "00199 x" in text and "00000 x" not in text


def test_one_line_may_be_longer_than_all_that_is_kept() -> None:
    operation = scripted(says("x" * (capture.LIMIT * 2)))
    run_due()
    assert 1000 < len(log_of(operation)) <= capture.LIMIT


def test_odd_characters_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest-xdist cannot send what pytest would capture.
    monkeypatch.setattr(logger, "propagate", False)
    operation = scripted(says("nul \x00 lone \ud800 smile 😀"))
    run_due()
    assert "nul \\x00 lone \\ud800 smile 😀" in log_of(operation)


def test_a_record_that_cannot_be_formatted_does_no_harm(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    class Shy:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def script(operation: Operation) -> None:
        quiet.info("%d boxes", "three")
        quiet.info("%s", Shy())
        quiet.info(Shy())
        quiet.info("after")

    quiet = logging.getLogger("shop.quiet")
    monkeypatch.setattr(quiet, "propagate", False)
    quiet.setLevel(logging.INFO)
    operation = scripted(script)
    [job] = run_due()
    assert job.outcome == "finished"
    assert "%d boxes (its arguments do not fit)" in log_of(operation)
    assert "after" in log_of(operation)


@pytest.mark.django_db(transaction=True)
def test_concurrent_jobs_do_not_mix(make_operator: Make) -> None:
    """Nor do the records of threads that run no job."""
    meet = threading.Barrier(4, timeout=20)

    def script(operation: Operation) -> None:
        for number in range(50):
            meet.wait()
            logger.info("line %d of %d", number, operation.pk)

    def stranger() -> None:
        for _ in range(50):
            meet.wait()
            logger.info("a stranger's line")

    made = [scripted(script) for _ in range(3)]
    jobs = [OperationJob.of(row) for row in claim_all(make_operator())]
    threads = [Thread(job.run) for job in jobs] + [Thread(stranger)]
    for thread in threads:
        thread.result()
    assert len(jobs) == len(made)
    for job in jobs:
        lines = [line.rpartition(": ")[2] for line in job.log.splitlines()]
        assert lines == [f"line {number} of {job.operation_id}" for number in range(50)]


@pytest.mark.django_db(transaction=True)
def test_an_async_run_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(self: AsyncNote) -> None:
        logger.info("from a coroutine")

    monkeypatch.setattr(AsyncNote, "run", run)
    operation = AsyncNote.dispatch()
    run_due()
    assert "from a coroutine" in log_of(operation)


def test_a_job_within_a_job_keeps_its_own(operator: OperatorProcess) -> None:
    def outer(operation: Operation) -> None:
        logger.info("before")
        Scripted.dispatch_now(script=Scripted.does("inner", says("inside")))
        logger.info("after")

    job = claimed_job(scripted(outer), operator)
    job.run()
    assert [line.rpartition(": ")[2] for line in job.log.splitlines()] == ["before", "after"]
    inner = OperationJob.objects.get()
    assert inner.log.endswith("inside")


# What it leaves alone

PROGRAM = """
import logging, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
from types import SimpleNamespace
from operator_app.models import capture
from operator_app.models.current import current_job
job = SimpleNamespace(captured=capture.Captured())
if sys.argv[1] == "captured":
    capture.install()
    current_job.set(job)
logging.getLogger("shop").info("not shown")
logging.getLogger("shop").warning("shown by Python itself: %s", "careful")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("shop.sub").exception("shown, too")
print(logging.getLogger("shop").hasHandlers(), logging.getLogger().handlers)
logging.warning("calls basicConfig()")
logging.getLogger("shop").warning("shown as it says")
print(len(job.captured.text.splitlines()) > 3)
"""


def test_a_project_without_logging_sees_what_it_saw() -> None:
    """Python prints warnings by itself while no handler is found; and `basicConfig()` works."""
    seen = {}
    for how in ("plain", "captured"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, how],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        seen[how] = (done.stderr, done.stdout.splitlines())
    plain, captured = seen["plain"], seen["captured"]
    assert captured[0] == plain[0] and "shown by Python itself: careful" in plain[0]
    assert "WARNING:root:calls basicConfig()" in plain[0]
    assert captured[1][0] == plain[1][0] == "False []"
    assert captured[1][1] == "True" and plain[1][1] == "False"


def test_the_projects_own_format_of_exceptions_is_left() -> None:
    """Formatting leaves its text on a record; the project's handlers must not find ours."""

    class Short(logging.Formatter):
        def formatException(self, ei: Any) -> str:
            return "SHORT"

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Short("%(message)s"))

    def script(operation: Operation) -> None:
        try:
            raise ValueError("long")
        except ValueError:
            logger.exception("oh")

    logger.addHandler(handler)
    try:
        operation = scripted(script)
        run_due()
    finally:
        logger.removeHandler(handler)
    assert stream.getvalue() == "oh\nSHORT\n" and "Traceback" in log_of(operation)


@pytest.fixture
def factory() -> Iterator[Any]:
    before = logging.getLogRecordFactory()
    yield before
    logging.setLogRecordFactory(before)


def test_it_gets_along_with_other_factories(factory: Any) -> None:
    """One put in place before or after, that calls ours or not: each line is kept once."""
    first = scripted(says("one"))
    run_due()

    inner = logging.getLogRecordFactory()
    logging.setLogRecordFactory(lambda *args, **kwargs: inner(*args, **kwargs))
    wrapping = logging.getLogRecordFactory()
    second = scripted(says("two"))
    run_due()
    assert logging.getLogRecordFactory() is wrapping

    logging.setLogRecordFactory(logging.LogRecord)
    third = scripted(says("three"))
    run_due()
    assert [len(log_of(each).splitlines()) for each in (first, second, third)] == [1, 1, 1]


def test_records_from_elsewhere_are_made_as_ever() -> None:
    """`makeLogRecord()` makes an empty shell first, in the listeners of queues and sockets."""

    def script(operation: Operation) -> None:
        record = logging.makeLogRecord({"name": "far", "msg": "away", "levelno": logging.ERROR})
        assert record.getMessage() == "away"

    scripted(script)
    [job] = run_due()
    assert job.outcome == "finished" and job.log == ""


def test_it_costs_little() -> None:
    """A record outside a job costs next to nothing more."""
    capture.install()
    quiet = logging.getLogger("shop.cost")
    quiet.propagate = False
    quiet.setLevel(logging.INFO)
    before = time.perf_counter()
    for _ in range(2_000):
        quiet.info("x")
    assert time.perf_counter() - before < 1
