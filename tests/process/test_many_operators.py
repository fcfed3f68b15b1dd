"""G1: no two operators hold one operation, however many run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from django.db import connection, connections, transaction

from operator_app import clock
from operator_app.models import Operation
from tests.process.conftest import Start
from tests.process.support import (
    assert_calm,
    assert_each_once,
    assert_nothing_left,
    ready,
    wait_until_finished,
)
from tests.work.models import Entry, Tick

OPERATIONS = 2_000
WRITERS = 2
EACH = 120
"""How many operations each web writer schedules."""


def test_four_operators_run_two_thousand_operations_exactly_once(operate: Start) -> None:
    """Four operators let loose on 2,000 operations at one moment run every one of them once."""
    later = clock.now() + timedelta(hours=1)
    scheduled = Tick.schedule_many([Tick(should_run_at=later) for _ in range(OPERATIONS)])
    ids = [operation.pk for operation in scheduled]
    operators = [operate("--threads", "4") for _ in range(4)]
    ready(*operators)
    # The barrier: later than the longest sleep of an idle operator, so that all wake at one moment.
    start_at = clock.now() + timedelta(seconds=1.5)
    assert Operation.objects.update(should_run_at=start_at) == OPERATIONS

    wait_until_finished(OPERATIONS, by=operators, timeout=120)
    for operator in operators:
        operator.terminate()

    assert [operator.wait() for operator in operators] == [0] * 4, operators
    assert_calm(*operators)
    assert_each_once(ids)
    finished = Operation.all_objects.finished()
    shares = [
        finished.filter(operator=number).count()
        for number in finished.order_by().values_list("operator", flat=True).distinct()
    ]
    print("shares:", sorted(shares))
    assert sum(shares) == OPERATIONS
    assert len(shares) > 1, shares
    assert set(finished.values_list("attempts", flat=True)) == {1}
    assert not finished.filter(started_run_at__lt=start_at).exists()
    assert_nothing_left()


def test_two_operators_and_web_writers_never_meet_a_lock(operate: Start) -> None:
    """Two operators and two web threads that schedule and edit rows never see "database is locked",
    and every operation runs once."""
    operators = [operate("--threads", "4") for _ in range(2)]
    ready(*operators)

    ids, errors = _write_like_a_web_server()

    assert errors == []
    wait_until_finished(len(ids), by=operators, timeout=120)
    for operator in operators:
        operator.terminate()
    assert [operator.wait() for operator in operators] == [0, 0]
    assert_calm(*operators)
    assert_each_once(ids)
    assert len(ids) == WRITERS * EACH * 2
    assert_nothing_left()


def _write_like_a_web_server() -> tuple[list[int], list[BaseException]]:
    ids: list[int] = []
    errors: list[BaseException] = []

    def dispatched() -> None:
        """As a view does without a transaction."""
        ids.append(Tick.dispatch().pk)

    def edited() -> None:
        """As the admin does: a row read, changed and saved in a transaction, with one more row."""
        pk = Tick.schedule(timedelta(hours=1)).pk
        with transaction.atomic():
            operation = Tick.objects.get(pk=pk)
            Entry.write(operation, "edited")
            operation.should_run_at = clock.now()
            operation.save()
        ids.append(pk)

    def serve(views: list[Callable[[], None]]) -> None:
        try:
            for _ in range(EACH):
                for view in views:
                    view()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    connection.close()
    threads = [threading.Thread(target=serve, args=([dispatched, edited],)) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return ids, errors
