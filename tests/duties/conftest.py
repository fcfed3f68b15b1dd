"""What the tests of the duties share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from operator_app.duties import Heartbeat
from operator_app.models import Operation, OperationJob

Claim = Callable[..., list[OperationJob]]


@pytest.fixture
def heartbeat(transactional_db: None) -> Iterator[Heartbeat]:
    """A heartbeat that is registered but does not beat by itself."""
    heartbeat = Heartbeat("default", queues=[], capacity=2)
    heartbeat.register()
    yield heartbeat
    heartbeat.stop()


@pytest.fixture
def claim(heartbeat: Heartbeat) -> Claim:
    """Claims up to `limit` of what is due, as the operator of `heartbeat`; returns the jobs."""

    def take(limit: int = 1_000) -> list[OperationJob]:
        rows = Operation.all_objects.all()
        assert heartbeat.process is not None
        taken = rows.claim(heartbeat.process, rows.lanes(), limit=limit, now=rows._now())
        return [OperationJob.of(operation) for operation in taken]

    return take
