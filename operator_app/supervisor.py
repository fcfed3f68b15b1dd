"""Several operators under one parent, which notices at once when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

from django.db import Error

from operator_app import log
from operator_app.duties.rescue import rescue_operator
from operator_app.handling import handling
from operator_app.models.connections import reset
from operator_app.models.transactions import impatient
from operator_app.models.watchdog import watching
from operator_app.recycling import LEFT_FOR_GOOD
from operator_app.wakeups import Wakeup

SETTLED: Final = 10.0
"""Seconds that a child must live to be started anew at once when it ends."""
RESTART_DELAYS: Final = (1.0, 30.0)
"""The first and the longest wait, in seconds, before a child that keeps dying is started anew."""
WATCH: Final = 0.5
"""Seconds between two looks at the children, in case no SIGCHLD tells."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

_IN_ORDER: Final = (0, LEFT_FOR_GOOD)


@dataclass
class _Child:
    """A place for a child: the one in it now, and when the next one may take it."""

    identity: uuid.UUID = field(default_factory=uuid.uuid4)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    start_at: float = 0.0
    delay: float = 0.0
    is_given_up: bool = False
    """Whether a person has told the one in it to leave: nobody takes its place."""


class Supervisor:
    """Keeps a number of operator processes running.

    A child that dies is started anew, at once or with growing delays if it keeps dying, and what it
    held is rescued within a second, since its parent knows that it is dead and need not wait for
    its heartbeat. One that leaves because a person asked it to, through its row, is not replaced; a
    parent that is left alone leaves, too. If the parent dies, its children finish what they run and
    leave: each of them watches a pipe that only the parent holds open.

    Args:
        count: how many operators.
        command: the command line of one operator; `--supervised IDENTITY` is added to it.
        database: the alias of the operations' database.
        ends_process: whether the process ends with it, so that signals are handled to the end.
    """

    def __init__(
        self, count: int, *, command: Sequence[str], database: str, ends_process: bool = False
    ) -> None:
        self._ends_process = ends_process
        self._command = list(command)
        self._database = database
        self._children = [_Child() for _ in range(count)]
        self._wakeup = Wakeup()
        self._signals: list[int] = []

    def run(self) -> int:
        """Run until told to leave; return 0, or 1 if a child left with an error at the end."""
        listen = dict.fromkeys(SIGNALS, self._on_signal) | {signal.SIGCHLD: self._on_child}
        with handling(listen, for_good=self._ends_process):
            while not self._signals and not all(child.is_given_up for child in self._children):
                self._wakeup.clear()
                for child in self._children:
                    self._look_after(child)
                self._wakeup.sleep(WATCH)
            return self._leave()

    def _look_after(self, child: _Child) -> None:
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                return
            self._bury(child, code)
        if not child.is_given_up and time.monotonic() >= child.start_at:
            self._start(child)

    def _start(self, child: _Child) -> None:
        child.identity = uuid.uuid4()
        child.started = time.monotonic()
        command = [*self._command, "--supervised", str(child.identity)]
        try:
            child.process = subprocess.Popen(command, stdin=subprocess.PIPE)
        except OSError as error:
            child.start_at = child.started + RESTART_DELAYS[0]
            log.logger.error(
                "No operator could be started (%s); it is tried again.",
                error,
                extra={"action": "start_failed"},
            )

    def _bury(self, child: _Child, code: int) -> None:
        assert child.process is not None
        pid, child.process = child.process.pid, None
        lived = time.monotonic() - child.started
        if code == LEFT_FOR_GOOD:
            child.is_given_up = True
            log.logger.info(
                "Operator %s has left as it was asked to; nobody takes its place.",
                pid,
                extra={"action": "given_up", "operator": str(child.identity)},
            )
            return
        first, longest = RESTART_DELAYS
        if code == 0 or lived >= SETTLED:
            child.delay = 0.0
        else:
            child.delay = min(longest, child.delay * 2 or first)
        child.start_at = time.monotonic() + child.delay
        if code != 0:
            log.logger.error(
                "Operator %s %s after %.0f s; another one is started%s.",
                pid,
                _how(code),
                lived,
                f" in {child.delay:.0f} s" if child.delay else "",
                extra={"action": "operator_died", "operator": str(child.identity)},
            )
        self._rescue(child)

    def _rescue(self, child: _Child) -> None:
        try:
            with watching(self._database), impatient():
                rescue_operator(self._database, child.identity)
        except Error as error:
            log.logger.error(
                "What operator %s held could not be rescued now (%s); the others will do it.",
                child.identity,
                str(error).strip(),
                extra={"action": "rescue_failed", "operator": str(child.identity)},
            )
        finally:
            reset()

    def _leave(self) -> int:
        worst = 0
        sent = 0
        while living := [child for child in self._children if child.process is not None]:
            for number in self._signals[sent:]:
                for child in living:
                    _tell(child, number)
            sent = len(self._signals)
            for child in living:
                assert child.process is not None
                if (code := child.process.poll()) is not None:
                    child.process = None
                    # One that had not begun to listen yet dies of a SIGTERM that all of us got.
                    worst = worst or int(code not in (*_IN_ORDER, -signal.SIGTERM, -signal.SIGINT))
                    if code not in _IN_ORDER:
                        self._rescue(child)
            self._wakeup.sleep(0.1)
        return worst

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)
        self._wakeup.call()

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        self._wakeup.call()


def command_line(options: Sequence[str]) -> list[str]:
    """Return the command line that starts one operator as this process was started."""
    return [sys.executable, *_script(), "operator", *options]


def _tell(child: _Child, number: int) -> None:
    """Pass a signal on. Through the pipe, since the child may have had the same signal from whoever
    sent it to us, and would take ours for the second one, which ends the grace.
    """
    process = child.process
    assert process is not None
    assert process.stdin is not None
    if number == signal.SIGQUIT:
        process.send_signal(number)
        return
    with suppress(OSError):  # It has just ended.
        os.write(process.stdin.fileno(), b".")


def _script() -> list[str]:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return ["-m", spec.name.removesuffix(".__main__")]
    return [sys.argv[0]]


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
