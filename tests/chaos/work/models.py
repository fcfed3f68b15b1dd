"""Operations that write every effect they have into a ledger, and some that kill their process."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from django.db import models

from operator_app import Policy
from operator_app.models import Operation

PATIENCE = 90.0
"""Seconds that an operation waits for its test; a test that has died leaves nobody hanging."""


class Effect(models.Model):
    """A line of the ledger. No foreign key: it outlives its operation and its operator."""

    operation_number = models.BigIntegerField()
    attempt = models.PositiveIntegerField()
    """Which claim it was: two of one claim would be one attempt that ran twice."""
    operator_number = models.BigIntegerField(null=True)
    """The primary key of the operator that held the claim."""
    pid = models.PositiveIntegerField()
    line = models.CharField(max_length=20)
    host_time = models.FloatField()
    """What the clock of the operator's host says."""

    @classmethod
    def write(cls, operation: Operation, line: str) -> None:
        """Add a line: one INSERT."""
        cls.objects.create(
            operation_number=operation.pk,
            attempt=operation.attempts,
            operator_number=operation.operator_id,
            pid=os.getpid(),
            line=line,
            host_time=time.time(),
        )


class Task(Operation):
    """Writes "begun", takes its time, writes "ended"."""

    seconds = models.FloatField(default=0)
    """How long it takes."""
    gate = models.CharField(max_length=500, blank=True)
    """A file that it waits for besides; it says that it waits by a file of its own."""
    way = models.CharField(max_length=20, blank=True)
    """How a `Poison` ends its process."""

    # Killed as often as the test likes, and back at once.
    policy = Policy(max_crashes=10_000, backoff=[0.1] * 3)

    def run(self) -> None:
        """Write the two lines."""
        Effect.write(self, "begun")
        # Not time.sleep(), which raises OSError under libfaketime.
        threading.Event().wait(self.seconds)
        if self.gate:
            self._wait()
        Effect.write(self, "ended")

    def waits_at(self, attempt: int) -> Path:
        """Return the file that shows that this attempt has come to the gate."""
        return Path(f"{self.gate}.{self.pk}.{attempt}")

    def _wait(self) -> None:
        self.waits_at(self.attempts).touch()
        deadline = time.monotonic() + PATIENCE
        while not Path(self.gate).exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.gate} did not appear")
            time.sleep(0.01)


class AtomicTask(Task):
    """The same, committed together with its outcome or not at all."""

    class Meta:
        proxy = True

    policy = Policy(max_crashes=10_000, backoff=[0.1] * 3, atomic=True)


class Neighbour(Task):
    """The same as a user would write it: three crashes and it is given up."""

    class Meta:
        proxy = True

    policy = Policy(backoff=[0.1] * 2, max_crashes=3)


class Poison(Task):
    """Ends the process it runs in, or tries to, in its own `way`."""

    class Meta:
        proxy = True

    policy = Policy(backoff=[0.1] * 2, max_crashes=3)

    def run(self) -> None:
        """Die."""
        Effect.write(self, "begun")
        WAYS[self.way]()


def _leave() -> NoReturn:
    os._exit(3)


def _exit() -> NoReturn:
    sys.exit(3)


def _segfault() -> None:
    ctypes.string_at(0)


def _recurse() -> None:
    _recurse()


def _overflow(depth: int = 0) -> None:
    """Recurse through C, where no recursion limit of old Pythons helps."""
    sys.setrecursionlimit(10**6)
    list(map(_overflow, [depth + 1]))


WAYS = {
    "os._exit": _leave,
    "sys.exit": _exit,
    "segfault": _segfault,
    "recurse": _recurse,
    "overflow": _overflow,
}
