"""Where a run is in its code, written down while it runs."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import TYPE_CHECKING, Final

from django.db import connections

from operator_app import clock
from operator_app.models.begun import claims_of
from operator_app.models.transactions import in_transaction, unlocked
from operator_app.reports import shortened

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob

LIMIT: Final = 64_000
"""Characters of a stack that are kept."""
PATIENCE: Final = 500
"""Milliseconds to wait for the write lock of SQLite."""


def of_thread(ident: int | None) -> str:
    """Return where a thread of this process is, as text; empty if there is no such thread."""
    frame = sys._current_frames().get(ident or 0)
    return "" if frame is None else "".join(traceback.format_stack(frame))


def of_main_thread() -> str:
    """Return where the main thread of this process is, as text."""
    return of_thread(threading.main_thread().ident)


def answer(job: OperationJob, text: str) -> bool:
    """Write a stack into the row of a running job, and that the request for it is answered. On a
    thread and a connection of its own: on SQLite it gives up soon if the run holds the write lock,
    elsewhere it waits for no lock of a row.

    One transaction of up to four statements.

    Returns:
        Whether it was written. Not if the claim is lost, or if the run has locked what is to be
        written: the request stays, to be answered later.

    Raises:
        DatabaseError: if the database cannot be written now.
    """
    at = clock.now(job.alias).isoformat(" ", "seconds")

    def write() -> bool:
        # Under the lock of its operation, which whoever records the end waits for: from then on it
        # is known that there is a row.
        if not unlocked(claims_of([job], job.alias)):
            return False
        if not job.store_stack(shortened(f"As of {at}:\n{text}", LIMIT)):
            return False
        return bool(claims_of([job], job.alias).update(stack_requested_at=None))

    connection = connections[job.alias]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {PATIENCE}")
    # First of all, since the run holds it while it writes, and would wait for us there.
    with job.storing:
        return in_transaction(job.alias, write)
