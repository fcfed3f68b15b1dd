"""Operations that do nothing, one that is timed, and such as go on until they are aborted."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from django.db import models

from operator_app import Policy
from operator_app.models import Operation

STARTS = "OPERATOR_BENCH_STARTS"
"""The environment variable that names the file of `Timed`."""
LOOK = 0.01
"""Seconds between two looks of the thread."""


class Looking(Operation):
    """Is on a thread, and looks a hundred times a second."""

    policy = Policy(queue="aborts")

    class Meta:
        proxy = True

    def run(self) -> None:
        """Look until it is to end."""
        while not self.should_abort():
            time.sleep(LOOK)
        self.raise_if_aborted()


class Waiting(Operation):
    """Is on the event loop, and waits."""

    policy = Policy(queue="aborts")

    class Meta:
        proxy = True

    async def run(self) -> None:
        """Wait for what never comes."""
        await asyncio.Event().wait()


class Computing(Operation):
    """Is in a process of its own, and neither looks nor waits."""

    policy = Policy(queue="aborts", runner="processes")

    class Meta:
        proxy = True

    def run(self) -> None:
        """Compute."""
        number = 0
        while True:
            number += 1


class Nothing(Operation):
    """Does nothing, with one column."""

    number = models.IntegerField()

    def run(self) -> None:
        """Do nothing."""


class Timed(Operation):
    """Writes down when it was begun."""

    policy = Policy(queue="latency")

    class Meta:
        proxy = True

    def run(self) -> None:
        """Append the number and the time to the file that the benchmark reads."""
        now = time.time()
        with Path(os.environ[STARTS]).open("a") as file:
            file.write(f"{self.pk} {now!r}\n")
