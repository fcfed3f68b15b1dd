"""What happens in a child process: one operation after the other is run there, none recorded.

A top-level module without imports of models: a child imports it before Django is set up.
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, Final

PARENT_WATCH: Final = 1.0
"""Seconds between two looks at the parent, should the lifeline not tell of its end."""
EXIT_CODE: Final = 70
"""What an exit with 0 in the middle of an operation becomes: 0 is that of a child that is done."""

_leave = os._exit


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, as it crosses from a child to its parent: strings and numbers only."""

    outcome: Any
    """An `Outcome`, which is a frozen value."""
    ended_at: datetime
    fields: dict[str, Any]
    """Columns of the job that `run()` may have filled: progress, meta, log."""
    has_row: bool
    is_recorded: bool
    could_not_be_loaded: bool
    error: BaseException | None
    """What `run()` raised, if it can be pickled."""


class NotRun(Exception):
    """The operation was not run, and nothing is known against it."""


class Vanished(NotRun):
    """The operation was not claimed by this operator any more when the child looked."""


def start(parent: int, lifeline: Connection) -> None:
    """Set Django up in a new child, and end it when its parent is gone or done with it.

    Signals are the parent's business: a terminal sends Ctrl-C, and a service manager SIGTERM, to
    parents and children alike. They are heard and not heeded: ignored ones would be ignored by
    whatever program an operation starts, too.

    Args:
        parent: its process id.
        lifeline: a pipe whose other end only the parent holds.
    """
    import django

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _pass)
    os._exit = _exit  # type: ignore[assignment]
    watch = threading.Thread(
        target=_watch, args=(parent, lifeline), name="parent-watch", daemon=True
    )
    watch.start()
    django.setup()


def run(alias: str, operation_id: int, number: int, operator_id: int) -> Ending:
    """Run one claimed operation; return how that ended. One query to load it.

    Raises:
        Vanished: if the claim is lost already.
        NotRun: if the database would not tell.
    """
    from django.db import Error

    from operator_app.models import Operation, OperationJob
    from operator_app.models.connections import freshen, tidy

    freshen()
    claim = Operation.all_objects.using(alias).started()
    try:
        row = claim.filter(pk=operation_id, attempts=number, operator_id=operator_id).first()
    except Error as error:
        tidy()
        raise NotRun(f"it could not be loaded: {error}") from None
    if row is None:
        raise Vanished(f"operation {operation_id} is not at claim {number} any more")
    job = OperationJob.of(row)
    job.run()
    tidy()
    assert job.ending is not None and job.ended_at is not None
    names = ("id", "progress_done", "progress_total", "progress_message", "meta", "log", "stack")
    ending = Ending(
        outcome=job.ending,
        ended_at=job.ended_at,
        fields={name: getattr(job, name) for name in names},
        has_row=job.has_row,
        is_recorded=job.is_recorded,
        could_not_be_loaded=job.could_not_be_loaded,
        error=_portable(job.error),
    )
    return ending if _can_travel(ending) else replace(ending, fields=ending.fields | {"meta": {}})


def _can_travel(ending: Ending) -> bool:
    """Whether what `run()` left in `meta` can be handed over. No database could store it either."""
    import pickle

    try:
        pickle.loads(pickle.dumps(ending))
    except BaseException:
        return False
    return True


def _portable(error: BaseException | None) -> BaseException | None:
    """Return the error if it survives a trip through pickle; otherwise one with its words."""
    import pickle

    if error is None:
        return None
    try:
        copy: BaseException = pickle.loads(pickle.dumps(error))
        return copy if type(copy) is type(error) else RuntimeError(repr(error))
    except BaseException:
        from operator_app.reports import ErrorReport

        return RuntimeError(str(ErrorReport.of(error)))


def _watch(parent: int, lifeline: Connection) -> None:
    while not lifeline.poll(PARENT_WATCH) and os.getppid() == parent:
        pass
    # Nobody can record what this process does, and somebody else is about to do it again.
    _leave(1)


def _pass(number: int, frame: FrameType | None) -> None:
    pass


def _exit(status: int) -> None:
    """Stand in for `os._exit`, whose 0 the parent would take for a child that is done."""
    _leave(status or EXIT_CODE)
