"""Which job is running here: a context variable, right under threads and tasks alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob

current_job: ContextVar[OperationJob | None] = ContextVar("operator_app_current_job", default=None)


@contextmanager
def running(job: OperationJob) -> Iterator[None]:
    """Let it be this one in the block, and in the tasks and threads that asyncio starts there."""
    token = current_job.set(job)
    try:
        yield
    finally:
        current_job.reset(token)
