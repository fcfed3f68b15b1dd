"""How far a run has come, as it says itself, for others to see while it runs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from asgiref.sync import sync_to_async
from django.db import Error, connections

from operator_app import log
from operator_app.models.transactions import is_away
from operator_app.reports import shortened
from operator_app.validation import is_number

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob

INTERVAL: Final = 1.0
"""Seconds between two writes of a job's progress, at least."""
MESSAGE_LENGTH: Final = 255

_writing: Final[set[asyncio.Task[None]]] = set()
"""The loop itself keeps no task alive."""


def note(job: OperationJob, done: float, total: float | None, message: str) -> None:
    """Note how far a job has come, and write it down if the last time is long enough ago.

    Raises:
        ValueError: for a number that is negative, infinite or none.
    """
    for value in (done, total or 0):
        if not is_number(value) or value < 0:
            raise ValueError(f"progress() takes numbers >= 0, not {value!r}.")
    job.progress_done, job.progress_total = float(done), total
    job.progress_message = shortened(message, MESSAGE_LENGTH)
    if time.monotonic() - job.progress_written < INTERVAL:
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        _store_now(job)
    else:
        task = loop.create_task(_store(job))
        _writing.add(task)
        task.add_done_callback(_writing.discard)
    job.progress_written = time.monotonic()


def _store_now(job: OperationJob) -> None:
    try:
        job.store()
    except Error as error:
        if connections[job.alias].in_atomic_block or not is_away(error):
            raise
        _lose(job, error)


async def _store(job: OperationJob) -> None:
    """Write it where the ORM works for this run: a coroutine must not wait for the database."""
    try:
        await sync_to_async(job.store)()
    except Exception as error:
        # Nobody awaits this.
        _lose(job, error)


def _lose(job: OperationJob, error: Exception) -> None:
    """Say that it could not be written now. No reason to fail a run: it goes with the outcome."""
    log.logger.warning(
        "%s: its progress could not be written: %s",
        job,
        str(error).strip(),
        extra=log.facts("progress_lost", job),
    )
