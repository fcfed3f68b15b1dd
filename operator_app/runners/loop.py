"""An event loop in a thread of its own, which outlives whatever its tasks raise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

from operator_app.models import stack
from operator_app.runners.family import FamilyThreads, make_task
from operator_app.runners.pulse import Pulse

CLOSING: Final = 5.0
"""Seconds to wait for the end of a loop that has nothing to do."""


class Loop:
    """Runs coroutines until it is closed and all of them have ended. No method waits, but
    `close(wait=True)`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(make_task)
        self._loop.set_default_executor(FamilyThreads(thread_name_prefix="operation-to-thread"))
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._pulse = Pulse(self._loop)
        self._thread = threading.Thread(target=self._live, name="operation-loop", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], object]) -> bool:
        """Call something on the loop's thread; return False if that has ended. From any thread."""
        try:
            # Not in a copy of the caller's context, where another job may be current.
            self._loop.call_soon_threadsafe(work, context=Context())
        except RuntimeError:
            return False
        return True

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine. On the loop's thread."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def blockage(self) -> tuple[float, asyncio.Task[object] | None, str] | None:
        """Return since how many seconds the loop has been blocked, by which task (if it is one),
        and where in the code; once for each time. From one thread, twice a second or so.
        """
        try:
            found = self._pulse.look()
        except RuntimeError:
            return None  # It is closed.
        if found is None:
            return None
        where = self.stack()
        # Asked again after the stack was taken, which otherwise is of something innocent.
        return (*found, where) if self._pulse.is_awaited else None

    def stack(self) -> str:
        """Return where the loop's thread is, as text."""
        return stack.of_thread(self._thread.ident)

    def close(self, *, wait: bool) -> None:
        """Let the thread end once all coroutines have, and wait for that if you like, but not long
        for what users have left lying around.
        """
        self.call(self._over.set)
        if wait:
            self._thread.join(CLOSING)

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._until_done(self._loop.create_task(self._until_over()))
        self._until_done(self._loop.create_task(self._loop.shutdown_asyncgens()))
        self._until_done(self._loop.create_task(self._loop.shutdown_default_executor()))
        self._loop.close()

    async def _until_over(self) -> None:
        await self._over.wait()
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        # Whoever started these has ended: an async generator that nobody has closed.
        strays = asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}
        for stray in strays:
            stray.cancel()
        if strays:
            await asyncio.wait(strays)

    def _until_done(self, task: asyncio.Task[None]) -> None:
        while not task.done():
            try:
                self._loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt):
                # One of an operation's tasks has raised it. asyncio hands it to whoever awaits that
                # task, which is all there is to do, and raises it here as well, to end the loop.
                pass
