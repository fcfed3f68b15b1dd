"""The family of a run: its task, and all that it starts on the loop."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from types import FrameType
from typing import Any, Final

from django.db import Error

from operator_app.models import OperationJob
from operator_app.models.connections import reset

OUTLIVING: Final = 10.0
"""Seconds that tasks of a run may go on after it has ended, before they are cancelled."""

_current: ContextVar[Family | None] = ContextVar("operator_app_family", default=None)


class Family:
    """What runs for one job: a task that awaits `run()`, the tasks that this starts, the functions
    that these hand to threads (`asyncio.to_thread`). Used on the loop's thread.
    """

    def __init__(self, job: OperationJob) -> None:
        self.job = job
        self._head: asyncio.Task[None] | None = None
        self._members: set[asyncio.Future[Any]] = set()

    def __contains__(self, task: asyncio.Future[Any] | None) -> bool:
        """Whether a task is one of them. From any thread."""
        return task in self._members

    async def run(self) -> BaseException | None:
        """Await the `run()` of the job; return what it raised.

        In a task of its own: to cancel it does not concern the engine, nor does a GeneratorExit,
        which Python raises in the outermost coroutine of a task, past all that would catch it.
        """
        ended: list[BaseException | None] = []

        async def run() -> None:
            # Noted here: a task that somebody has asked to cancel meanwhile, as a TaskGroup does on
            # its way out from Python 3.13 on, counts as cancelled whatever it returns.
            ended.append(await self.job.arun())

        token = _current.set(self)
        head = self._head = asyncio.create_task(run())
        _current.reset(token)
        await asyncio.wait({head})
        if ended:
            return ended[0]
        return asyncio.CancelledError() if head.cancelled() else head.exception()

    def stack(self) -> str:
        """Return where its tasks wait, as text."""
        tasks = [member for member in self._members if isinstance(member, asyncio.Task)]
        return "\n".join(f"{task.get_name()}:\n{_stack_of(task)}" for task in tasks)

    def cancel(self) -> None:
        """Raise `CancelledError` where the run waits; if it has ended, in what it left behind."""
        if self._head is not None and not self._head.done():
            self._head.cancel()
        else:
            self._cancel_all()

    async def end(self) -> None:
        """Wait until all that the run has left behind has ended, too: a section that was shielded
        from the abort, a thread that nobody can end. Tasks are cancelled in the end.
        """
        deadline = time.monotonic() + OUTLIVING
        while self._members:
            left: float | None = deadline - time.monotonic()
            if left is not None and left <= 0:
                left = None
                self._cancel_all()
            # A copy: they take themselves out.
            await asyncio.wait(set(self._members), timeout=left)

    def add(self, future: asyncio.Future[Any]) -> None:
        """Take one in, for as long as it lasts."""
        self._members.add(future)
        future.add_done_callback(self._members.discard)

    def _cancel_all(self) -> None:
        for member in self._members:
            # What is no task stands for a function in a thread, which cannot be cancelled.
            if isinstance(member, asyncio.Task):
                member.cancel()


def _stack_of(task: asyncio.Task[Any]) -> str:
    """Return where a task waits: `Task.get_stack()` knows the outermost coroutine only."""
    frames: list[tuple[FrameType, int]] = []
    waits: Any = task.get_coro()
    while waits is not None:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None)
        if frame is not None:
            frames.append((frame, frame.f_lineno))
        waits = getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None)
    return "".join(traceback.StackSummary.extract(iter(frames)).format())


def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Be a loop's task factory: a task belongs to the family of who starts it."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    if (family := _current.get()) is not None:
        family.add(task)
    return task


class FamilyThreads(ThreadPoolExecutor):
    """The loop's threads for `asyncio.to_thread()`; they keep no database connection."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do so for the family of who asks. On the loop's thread."""
        future = super().submit(_call, function, *args, **kwargs)
        if (family := _current.get()) is not None:
            loop = asyncio.get_running_loop()
            ended = loop.create_future()
            family.add(ended)
            future.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set_result, None))
        return future


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    finally:
        with suppress(Error):
            reset()
