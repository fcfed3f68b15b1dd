"""A child process as its parent sees it."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Final

from operator_app import child
from operator_app.exceptions import OperatorLost
from operator_app.models import stack
from operator_app.reports import ErrorReport

READY_WITHIN: Final = 120.0
"""Seconds that a child gets to import and set up the project."""
LOOK: Final = 1.0
"""Seconds between two looks at whether a child lives, should neither of its pipes tell."""
FADING: Final = 1.0
"""Seconds between the end of a child's pipe and the end of the child."""
LEAVING: Final = 2.0
"""Seconds that a child gets to leave in order."""
DYING: Final = 10.0
"""Seconds that the kernel gets to end a process that was killed."""

STACK_WITHIN: Final = 1.0
"""Seconds that a child gets to say where it is."""
SILENT: Final = 0.05
"""Seconds without another word after which it has said so."""

# `multiprocessing` notes in one place for all threads what it has started and what has ended.
_books = threading.Lock()


class NotStarted(Exception):
    """There is no child process that could run an operation."""

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(reason)
        self.details = details
        """The child's traceback, if there is one."""


class NotBegun(NotStarted):
    """A child ended before it had begun with the job that it was given."""


class Child:
    """A spawned process that runs one operation after the other, and the pipe to it.

    Belongs to one thread; other threads may only ask for its `stack()` and `kill()` it. Spawned,
    not forked: it shares no connection, lock or thread with the operator, and inherits no file but
    its own ends of two pipes, so that the first tells it reliably of its parent's end. The second
    is for its stacks.

    Raises:
        OSError: if there are no more processes or files.
    """

    def __init__(self, name: str) -> None:
        self.jobs = 0
        """How many it was given."""
        self._is_closed = False
        self._telling = threading.Lock()
        context = multiprocessing.get_context("spawn")
        self._pipe, others_end = context.Pipe()
        self._stacks, stacks = context.Pipe(duplex=False)
        self._process = context.Process(
            target=child.serve, args=(others_end, stacks, os.getpid()), name=name
        )
        try:
            with _books:
                # Were it started by `start()`, it would unblock the signals again.
                resource_tracker.ensure_running()
                # For good: this thread has no use for them, and its children are not to die of
                # them before they can hear them.
                signal.pthread_sigmask(signal.SIG_BLOCK, child.SIGNALS)
                self._process.start()
        except BaseException:
            self._pipe.close()
            self._stacks.close()
            raise
        finally:
            others_end.close()
            stacks.close()

    @property
    def is_usable(self) -> bool:
        """Whether it lives, asked while it has nothing to do and nothing to say."""
        return not wait([self._pipe, self._process.sentinel], 0) and self._exit_code() is None

    def wait_until_ready(self) -> None:
        """Wait until it could run an operation.

        Raises:
            NotStarted: if it will not.
        """
        try:
            answer = self._receive(READY_WITHIN)
        except OperatorLost as error:
            raise NotStarted(str(error)) from None
        if isinstance(answer, child.Unready):
            self.close(LEAVING)
            raise NotStarted(str(answer.report), answer.report.traceback)

    def run(self, claim: child.Claim) -> child.Ending | child.NotRun:
        """Let it run one operation; return what came of it.

        Raises:
            NotBegun: if it ended before it had handed the operation to the user's code.
            OperatorLost: if it ended after that.
        """
        self.jobs += 1
        self._send(claim)  # Should it have ended: how, is told below.
        try:
            answer = self._receive()
        except OperatorLost as error:
            raise NotBegun(str(error)) from None
        if answer == child.BEGUN:
            answer = self._receive()
        assert isinstance(answer, (child.Ending, child.NotRun))
        return answer

    def stack(self) -> str:
        """Return where its main thread is in its code, as text, once it has been ready; empty if it
        does not say so within `STACK_WITHIN`. From any thread.

        It is interrupted by a signal, so this works while its code lets no other thread run.
        """
        with self._telling:
            if self._is_closed:
                return ""
            while wait([self._stacks], 0) and self._read_stacks():
                pass  # What it has said too late for whoever asked before.
            with self._living() as pid:
                if pid is None:
                    return ""
                os.kill(pid, child.STACK)
            said, patience = b"", STACK_WITHIN
            while wait([self._stacks], patience) and (more := self._read_stacks()):
                said, patience = said + more, SILENT
        return stack.of_dump(said.decode(errors="replace"))

    def kill(self) -> None:
        """End it, whatever it does, and the programs that it has started. From any thread; nothing
        happens if it has ended.
        """
        with self._living() as pid:
            if pid is None:
                return
            with suppress(ProcessLookupError, PermissionError):
                # It leads a group from its first steps on.
                os.killpg(pid, signal.SIGKILL)
            self._process.kill()

    def retire(self) -> None:
        """Let it leave in order, if it does so soon."""
        self._send(None)
        self.close(LEAVING)

    def close(self, grace: float = 0.0) -> int | None:
        """Kill it if it does not end within the grace, and free what it holds here.

        Returns:
            Its exit code; None if it had to be killed.
        """
        code = self._ended_within(grace)
        if code is None:
            self.kill()
            self._ended_within(DYING)
        self._pipe.close()
        with self._telling:
            self._is_closed = True
            self._stacks.close()
        with _books:
            try:
                self._process.close()
            except ValueError:
                pass  # Its end was reported to somebody else, or the kernel cannot end it.
        return code

    @contextmanager
    def _living(self) -> Iterator[int | None]:
        """Give its number, which nothing else gets in this block; None if it has ended."""
        with _books:
            # Nobody has heard of its end before this is asked.
            ended = self._is_closed or self._process.exitcode is not None
            yield None if ended else self._process.pid

    def _read_stacks(self) -> bytes:
        return os.read(self._stacks.fileno(), 65_536)

    def _receive(self, within: float = math.inf) -> object:
        deadline = time.monotonic() + within
        while True:
            told = wait([self._pipe, self._process.sentinel], LOOK)
            # The sentinel stays silent while a program that an operation forked holds it.
            has_ended = bool(told) or self._exit_code() is not None
            # Looked at last: what it said with its last breath counts.
            if self._pipe.poll(0):
                try:
                    return self._pipe.recv()
                except (EOFError, OSError):
                    has_ended = True
                except Exception as error:
                    self.close()
                    words = f"its child process made no sense: {ErrorReport.of(error)}"
                    raise OperatorLost(words) from None
            if has_ended:
                raise OperatorLost(_how(self.close(FADING)))
            if time.monotonic() >= deadline:
                self.close()
                raise OperatorLost(f"its child process was not ready within {within:g} s")

    def _send(self, what: object) -> None:
        with suppress(OSError):  # It has ended, or was closed.
            self._pipe.send(what)

    def _exit_code(self) -> int | None:
        with _books:
            return self._process.exitcode

    def _ended_within(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while (code := self._exit_code()) is None and time.monotonic() < deadline:
            time.sleep(0.002)
        return code


def _how(code: int | None) -> str:
    if code is None:
        return "its child process fell silent, and was killed"
    if code >= 0:
        return f"its child process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"its child process was ended by {name}"
