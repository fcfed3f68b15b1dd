"""Where a run is in its code, written down while it runs."""

from __future__ import annotations

import re
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final

from django.db import OperationalError, connections

from operator_app import clock
from operator_app.models.begun import claims_of
from operator_app.models.transactions import in_transaction, unlocked
from operator_app.reports import shortened

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob

LIMIT: Final = 64_000
"""Characters of a stack that are kept."""
PATIENCE: Final = 500
"""Milliseconds to wait for a lock that the run may hold. PostgreSQL looks for deadlocks after a
second, and might end the run's transaction for one with this.
"""

_FRAME: Final = re.compile(r'  File "(.*)", line (\d+) in (.*)')
_LOCKED: Final = "55P03"
"""PostgreSQL's SQLSTATE of a lock that was waited for in vain."""


def of_thread(ident: int | None) -> str:
    """Return where a thread of this process is, as text; empty if there is no such thread."""
    frame = sys._current_frames().get(ident or 0)
    return "" if frame is None else "".join(traceback.format_stack(frame))


def of_dump(dump: str) -> str:
    """Return what `faulthandler` has said about a thread, the way Python shows it otherwise: the
    innermost call last, with its line of code, if the files are the same here.
    """
    frames = [(path, int(line), name, None) for path, line, name in _FRAME.findall(dump)]
    return "".join(traceback.format_list(frames[::-1]))


def answer(job: OperationJob, text: str) -> bool:
    """Write a stack into the row of a running job, and that the request for it is answered. On a
    thread and a connection of its own: on SQLite it gives up soon if the run holds the write lock,
    elsewhere it waits for no lock of a row.

    One transaction of up to four statements.

    Returns:
        Whether it was written. Not if the claim is lost, or if the run has locked what is to be
        written: the request stays, to be answered later. Where a child process runs it and has
        inserted the row in a transaction, that takes `PATIENCE`.

    Raises:
        DatabaseError: if the database cannot be written now.
    """
    at = clock.now(job.alias).isoformat(" ", "seconds")

    def write() -> bool:
        _be_patient(connection)
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
        try:
            return in_transaction(job.alias, write)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) == _LOCKED:
                return False
            raise


def _be_patient(connection: Any) -> None:
    """Do not wait long for what a run holds. In a transaction, of a connection that is closed soon
    afterwards.
    """
    limits = {
        "postgresql": f"SET LOCAL lock_timeout = {PATIENCE}",
        "mysql": "SET SESSION innodb_lock_wait_timeout = 1",
    }
    if (limit := limits.get(connection.vendor)) is not None:
        with connection.cursor() as cursor:
            cursor.execute(limit)
