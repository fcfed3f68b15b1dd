"""What several of the model tests need."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, connections, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess, kinds, tallies
from tests.kinds.models import Scripted

HOUR = timedelta(hours=1)

Make = Callable[..., OperatorProcess]
"""The type of the fixture `make_operator`."""


def living_operator(**changed: Any) -> OperatorProcess:
    """Insert the row of an operator that lives for a minute, or as the keywords say."""
    now = clock.now()
    fields = {
        "hostname": "host",
        "pid": 1,
        "version": "0",
        "capacity": 1,
        "started_at": now,
        "heartbeat_at": now,
        "alive_until": now + timedelta(seconds=60),
    }
    return OperatorProcess.objects.create(**{**fields, **changed})


def stored(operation: Operation) -> Operation:
    """The row of the common table as it is in the database now."""
    return Operation.all_objects.get(pk=operation.pk)


def write(operation: Operation, **values: Any) -> None:
    """Set engine columns behind everybody's back, as another process would."""
    assert Operation.all_objects.filter(pk=operation.pk).update(**values) == 1


def scripted(
    function: Callable[[Scripted], object], kind: type[Scripted] = Scripted, **options: Any
) -> Scripted:
    """An operation that is due and whose `run()` calls `function`."""
    name = f"{function.__name__}-{random.getrandbits(64):x}"
    return kind.dispatch(script=Scripted.does(name, function), **options)


def claim_all(
    operator: OperatorProcess, *, limit: int = 1_000, now: datetime | None = None
) -> list[Operation]:
    """Claim what is due, whatever the lane, with lanes looked up afresh."""
    rows = Operation.all_objects.all()
    return rows.claim(operator, rows.lanes(), limit=limit, now=now or clock.now())


def claimed_job(operation: Operation, operator: OperatorProcess) -> OperationJob:
    """The job of this operation, claimed."""
    lanes = Operation.all_objects.filter(pk=operation.pk).lanes()
    claimed = Operation.all_objects.claim(operator, lanes, limit=1_000, now=clock.now())
    (mine,) = [row for row in claimed if row.pk == operation.pk]
    return OperationJob.of(mine, operator=str(operator))


def raises(error: BaseException) -> Callable[[Any], None]:
    """A script that raises `error`."""

    def raiser(operation: Any) -> None:
        raise error

    return raiser


def nothing(operation: Any) -> None:
    """A script that just returns."""


@contextmanager
def queries(verb: str = "") -> Iterator[list[str]]:
    """Collect the statements that begin with `verb`: SQL words in, a list out."""
    found: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield found
    found += [
        query["sql"]
        for query in captured.captured_queries
        if query["sql"].lstrip("( ").upper().startswith(verb.upper())
    ]


def counted(
    kind: type[Operation],
    end: datetime,
    *,
    queue: str = "notes",
    durations: Sequence[float] = (),
    delays: Sequence[float] = (),
    **counts: int,
) -> None:
    """Store what operators would have counted in ten seconds of the past, by outcome."""
    key = tallies.Key(kinds.content_type(kind, "default").pk, queue)
    summary = tallies.Summary(**counts)
    for seconds in durations:
        summary.durations.add(seconds)
    for seconds in delays:
        summary.delays.add(seconds)
    tallies.write({key: summary}, end - timedelta(seconds=10), "default")


@contextmanager
def elsewhere(work: Callable[[], object]) -> Iterator[None]:
    """Do something in a transaction of another thread, which stays open as long as the block."""
    done, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            work()
            done.set()
            assert over.wait(60)

    holder = Thread(hold)
    try:
        assert done.wait(30), "it was not done"
        yield
    finally:
        over.set()
        holder.result()


@contextmanager
def locked(rows: QuerySet[Any, Any]) -> Iterator[None]:
    """Let a transaction of another thread have the locks of these rows during the block."""
    with elsewhere(lambda: list(rows.select_for_update())):
        yield


class Thread(threading.Thread):
    """A thread with a database connection of its own, closed at its end; `result()` joins it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._value: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error
        finally:
            connections.close_all()

    def result(self, timeout: float = 30) -> Any:
        """What the work returned, or raise what it raised."""
        self.join(timeout)
        assert not self.is_alive(), "the thread hangs"
        if self._error is not None:
            raise self._error
        return self._value


def in_thread(work: Callable[[], Any]) -> Any:
    """Do the work on another connection and wait for it."""
    return Thread(work).result()


def ids(operations: Sequence[Operation]) -> list[int]:
    return [operation.pk for operation in operations]
