"""What happens in a child process: one operation after the other is run there, none recorded.

A top-level module without imports of models: a child imports it before Django is set up.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import queue
import signal
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from operator_app import log
from operator_app.reports import ErrorReport

if TYPE_CHECKING:
    from operator_app.models import Operation, OperationJob

PARENT_WATCH: Final = 1.0
"""Seconds between two looks at the parent, should the pipe not tell of its end."""
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""What reaches parents and children alike, from a terminal or a service manager."""
READY: Final = "ready"
"""What a child says when it could run an operation."""
BEGUN: Final = "begun"
"""What a child says right before it hands an operation to the user's code."""

STACK: Final[int] = getattr(signal, "SIGRTMAX", signal.SIGUSR2)
"""The signal that has a child say where its main thread is, whatever that does: one that nobody
else is likely to use, where there is one.
"""

Claim: TypeAlias = tuple[str, int, int, int | None, str]
"""What goes to a child: database alias, operation's id, number of the claim, operator's id, its
name.
"""


@dataclass(frozen=True)
class Unready:
    """Why a child cannot run anything."""

    report: ErrorReport


@dataclass(frozen=True)
class NotRun:
    """The operation was not run, and nothing is known against it."""

    reason: str


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
    committing: datetime | None
    error: bytes | None
    """What `run()` raised, pickled by itself: should that not be undone, the outcome stands."""


def serve(pipe: Connection, stacks: Connection, parent: int) -> None:
    """Be a child: set Django up, say so, and run what comes through the pipe until that is None.

    Signals are the parent's business. They are heard and not heeded: ignored ones would be ignored
    by whatever program an operation starts, too.

    Whatever goes wrong here once user code has begun ends the process: that is a crash of the
    operation, of which the parent allows only so many.

    Args:
        pipe: whose other end only the parent holds.
        stacks: where it says where it is, when it gets the signal for that.
        parent: its process id.
    """
    # A group of its own, which is killed as a whole: an operation that is run again must not meet
    # the programs that it has started the first time.
    os.setsid()
    for number in SIGNALS:
        signal.signal(number, _pass)
    # By a handler in C, since code that keeps the interpreter to itself is what is looked for; and
    # never waiting, as it would for a parent that does not read.
    os.set_blocking(stacks.fileno(), False)
    # Of the thread that is signalled, which is the main thread if that takes the signal.
    faulthandler.register(STACK, file=stacks.fileno(), all_threads=False)
    # The parent starts children with these blocked, so that none dies of one before it is here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    claims: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
    listener = threading.Thread(
        target=_listen, args=(pipe, parent, claims), name="parent-watch", daemon=True
    )
    listener.start()
    try:
        import django

        django.setup()
    except BaseException as error:
        pipe.send(Unready(ErrorReport.of(error)))
        return
    pipe.send(READY)
    _serve(pipe, claims)


def _serve(pipe: Connection, claims: queue.SimpleQueue[Claim | None]) -> None:
    from django.db import connections

    from operator_app.models.connections import tidy

    while (claim := claims.get()) is not None:
        _run(pipe, claim)
        # Only now: an error in here costs a child that has nothing to do.
        tidy()
    connections.close_all()


def _run(pipe: Connection, claim: Claim) -> None:
    """Run one claimed operation and say how that ended. One query to load it."""
    from operator_app.models import OperationJob

    try:
        row = _load(claim)
    except Exception as error:
        pipe.send(NotRun(f"it could not be loaded: {ErrorReport.of(error)}"))
        return
    if row is None:
        pipe.send(NotRun(f"operation {claim[1]} is not at claim {claim[2]} any more"))
        return
    job = OperationJob.of(row, operator=claim[-1], read_at=time.monotonic())
    # The parent has it, too, and inserts its row if somebody asks for its stack.
    job.ran_apart = True
    pipe.send(BEGUN)
    job.run()
    pipe.send(_ending_of(job))


def _load(claim: Claim) -> Operation | None:
    from operator_app.models import Operation
    from operator_app.models.connections import freshen

    alias, operation_id, number, operator_id, _ = claim
    freshen()
    claimed = Operation.all_objects.using(alias).started()
    return claimed.filter(pk=operation_id, attempts=number, operator_id=operator_id).first()


def _ending_of(job: OperationJob) -> Ending:
    assert job.ending is not None and job.ended_at is not None
    names = (
        "id",
        "begun_at",
        "progress_done",
        "progress_total",
        "progress_message",
        "log",
    )
    return Ending(
        outcome=job.ending,
        ended_at=job.ended_at,
        fields={name: getattr(job, name) for name in names} | {"meta": _portable_meta(job)},
        has_row=job.has_row,
        is_recorded=job.is_recorded,
        could_not_be_loaded=job.could_not_be_loaded,
        committing=job.committing,
        error=_portable(job.error),
    )


def _portable_meta(job: OperationJob) -> Any:
    """Return what `run()` left in `meta` as a database would give it back; nothing if none could
    store it.
    """
    try:
        return json.loads(json.dumps(job.meta))
    except Exception as error:
        words = "%s: its meta is no JSON, and is dropped: %s"
        log.logger.warning(words, job, ErrorReport.of(error), extra=log.facts("meta_lost", job))
        return {}


def _portable(error: BaseException | None) -> bytes | None:
    """Return the error, pickled, if it survives a trip; otherwise one with its words."""
    if error is None:
        return None
    try:
        packed = pickle.dumps(error)
        if type(pickle.loads(packed)) is type(error):
            return packed
    except BaseException:
        pass  # Whatever its own methods do.
    return pickle.dumps(RuntimeError(str(ErrorReport.of(error))))


def _listen(pipe: Connection, parent: int, claims: queue.SimpleQueue[Claim | None]) -> None:
    """Pass on what the parent sends; end the process when the parent is gone or done with it.

    The process ids are compared, too: a program that the parent forked may hold its end open.
    """
    try:
        while os.getppid() == parent:
            if pipe.poll(PARENT_WATCH):
                claims.put(pipe.recv())
    finally:
        # Nobody can record what this process does, and somebody else is about to do it again.
        os.killpg(0, signal.SIGKILL)


def _pass(number: int, frame: FrameType | None) -> None:
    pass
