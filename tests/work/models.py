"""Operations whose effects can be seen from other processes."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import logging
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db import models

from operator_app import CircuitBreaker, Policy
from operator_app.models import Operation

PATIENCE = 60.0
"""Seconds that an operation waits for its test; a test that has died leaves nobody hanging."""


class Entry(models.Model):
    """A line of the ledger. No foreign key: it outlives its operation."""

    operation_number = models.BigIntegerField()
    line = models.CharField(max_length=100, blank=True)
    written_at = models.FloatField()

    @classmethod
    def write(cls, operation: Operation, line: str = "") -> None:
        """Add a line: one INSERT."""
        cls.objects.create(operation_number=operation.pk, line=line, written_at=time.time())

    @classmethod
    async def awrite(cls, operation: Operation, line: str = "") -> None:
        """Do the same in a coroutine."""
        await sync_to_async(cls.write)(operation, line)


class Tick(Operation):
    """Writes one line."""

    class Meta:
        proxy = True

    def run(self) -> None:
        """Write the line, and where it was written."""
        Entry.write(self)


class OtherTick(Tick):
    """The same in a queue of its own."""

    class Meta:
        proxy = True

    policy = Policy(queue="other")


class Hold(Operation):
    """Lasts until the test makes the file `path`."""

    path = models.CharField(max_length=500)

    def run(self) -> None:
        """Write "begun", wait, write "ended"."""
        Entry.write(self, "begun")
        gate, deadline = Path(self.path), time.monotonic() + PATIENCE
        while not gate.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{gate} did not appear")
            time.sleep(0.01)
        Entry.write(self, "ended")


class HoldAside(Hold):
    """The same without the database: its ledger is a file beside the gate."""

    class Meta:
        proxy = True

    policy = Policy(max_attempts=1)

    def run(self) -> None:
        """Write "begun", wait, write "ended"."""
        gate, deadline = Path(self.path), time.monotonic() + PATIENCE
        with gate.with_suffix(".ledger").open("a") as ledger:
            print(self.pk, "begun", file=ledger, flush=True)
            while not gate.exists():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{gate} did not appear")
                time.sleep(0.01)
            print(self.pk, "ended", file=ledger, flush=True)


class Call(Hold):
    """Calls somebody who is there if the file `path` is, and who hangs while `path`.hang is."""

    class Meta:
        proxy = True

    policy = Policy(
        max_attempts=100,
        backoff=[0.1],
        circuit_breaker=CircuitBreaker(
            failures=3, within=60, cooldown=2, max_cooldown=3, on=[ConnectionError]
        ),
    )

    def run(self) -> None:
        """Write "called", wait as long as nobody answers, write "answered"; or fail."""
        Entry.write(self, "called")
        time.sleep(0.05)  # As it takes to be refused.
        there, deadline = Path(self.path), time.monotonic() + PATIENCE
        while there.with_suffix(".hang").exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{there} hangs")
            time.sleep(0.01)
        if not there.exists():
            raise ConnectionRefusedError("nobody is there")
        Entry.write(self, "answered")


class Polite(Hold):
    """Looks whether it is to end, while it waits."""

    class Meta:
        proxy = True

    policy = Policy(max_attempts=3, backoff=[0.05])

    def run(self) -> None:
        """Write "begun", wait, write "ended"; or end as it is asked to, and say so."""
        Entry.write(self, "begun")
        gate, deadline = Path(self.path), time.monotonic() + PATIENCE
        while not gate.exists() and not self.should_abort():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{gate} did not appear")
            time.sleep(0.01)
        if self.should_abort():
            Entry.write(self, "asked")
        self.raise_if_aborted()
        Entry.write(self, "ended")


class Patient(Polite):
    """The same with a timeout."""

    class Meta:
        proxy = True

    policy = Policy(timeout=0.5, max_attempts=2, backoff=[0.05])


class Deaf(Hold):
    """Has a timeout and does not look."""

    class Meta:
        proxy = True

    policy = Policy(timeout=0.5, max_attempts=2, backoff=[0.05])


class HoldLocked(Hold):
    """The same in one transaction, in which it has locked its own row."""

    class Meta:
        proxy = True

    policy = Policy(atomic=True)

    def run(self) -> None:
        """Lock, say so beside the database, wait."""
        list(Operation.all_objects.select_for_update().filter(pk=self.pk))
        Path(self.path).with_suffix(".locked").touch()
        super().run()


class HoldInline(Hold):
    """The same in the operator's main thread."""

    class Meta:
        proxy = True

    policy = Policy(runner="inline")


class AsyncHold(Hold):
    """The same on the event loop. The gate is looked at, and the ledger written, as async code can.

    The gate's name may say what it does when it is cancelled: "swallow", "shield" or "fail".
    """

    class Meta:
        proxy = True

    policy = Policy(max_attempts=3, backoff=[0.05])
    look = 0.01

    async def run(self) -> None:
        """Write "begun", wait, write "ended"; or "cancelled" if that comes first."""
        await Entry.awrite(self, "begun")
        try:
            if self.gate.stem == "shield":
                await asyncio.shield(self.section())
            else:
                await self.wait(self.gate)
        except asyncio.CancelledError:
            await Entry.awrite(self, "cancelled")
            if self.gate.stem == "fail":
                raise LookupError("no such customer") from None
            if self.gate.stem == "swallow":
                return
            raise
        await Entry.awrite(self, "ended")

    @property
    def gate(self) -> Path:
        """The file that is waited for."""
        return Path(self.path)

    async def section(self) -> None:
        """Write "shielded" once the gate is open."""
        await self.wait(self.gate)
        await Entry.awrite(self, "shielded")

    async def wait(self, gate: Path) -> None:
        """Wait until the test makes this file."""
        deadline = time.monotonic() + PATIENCE
        while not gate.exists():  # noqa: ASYNC240
            if time.monotonic() > deadline:
                raise TimeoutError(f"{gate} did not appear")
            await asyncio.sleep(self.look)


class AsyncPatient(AsyncHold):
    """The same with a timeout."""

    class Meta:
        proxy = True

    policy = Policy(timeout=0.5, max_attempts=2, backoff=[0.05])


class AsyncHoldAside(AsyncHold):
    """The same without the database: its ledger is a file beside the gate."""

    class Meta:
        proxy = True

    look = 0.5  # There may be a thousand.

    async def run(self) -> None:
        """Write "begun", wait, write "ended"."""
        self.note("begun")
        await self.wait(self.gate)
        self.note("ended")

    def note(self, line: str) -> None:
        """Add a line."""
        with self.gate.with_suffix(".ledger").open("a") as ledger:
            print(self.pk, line, file=ledger)


class AsyncBlocker(Hold):
    """Keeps the event loop from all others until the test makes the file `path`."""

    class Meta:
        proxy = True

    async def run(self) -> None:
        """Do what no coroutine should."""
        gate, deadline = Path(self.path), time.monotonic() + PATIENCE
        await Entry.awrite(self, "begun")
        while not gate.exists() and time.monotonic() < deadline:  # noqa: ASYNC240
            time.sleep(0.01)  # noqa: ASYNC251


class Broken(Operation):
    """Fails at each attempt, twice."""

    class Meta:
        proxy = True

    policy = Policy(backoff=[0.01])

    def run(self) -> None:
        """Divide by zero."""
        _ = 1 / 0


class Mixed(Operation):
    """Ends as its `ending` says."""

    ending = models.CharField(max_length=20)

    policy = Policy(max_attempts=1)

    def run(self) -> None:
        """Stop, cancel or fail."""
        if self.ending == "stop":
            self.stop("not yet", delay=3600)
        if self.ending == "cancel":
            self.cancel("not needed")
        raise LookupError("no such customer")


class Bad(Operation):
    """A base of kinds that misbehave outside their `run()`, where the engine has to look out."""

    class Meta:
        proxy = True

    policy = Policy(max_attempts=1)

    def run(self) -> None:
        """Do nothing."""


class Leave(Exception):
    """An error that cannot even be printed."""

    def __str__(self) -> str:
        raise SystemExit(9)


def leave(error: BaseException, operation: Operation) -> float:
    """Be a backoff that ends the process."""
    sys.exit(9)


class BadQueued(Bad):
    """Its hook wants to end the process."""

    class Meta:
        proxy = True

    def queued(self) -> None:
        """Exit."""
        sys.exit(9)


class BadSucceeded(Bad):
    """Its hook wants to end the process."""

    class Meta:
        proxy = True

    def succeeded(self) -> None:
        """Exit."""
        sys.exit(9)


class BadBackoff(Bad):
    """Its backoff wants to end the process."""

    class Meta:
        proxy = True

    policy = Policy(backoff=leave, max_attempts=3)

    def run(self) -> None:
        """Fail."""
        raise ValueError("no")


class BadError(Bad):
    """What it raises cannot be put into words."""

    class Meta:
        proxy = True

    def run(self) -> None:
        """Fail."""
        raise Leave


class BadMeta(Bad):
    """Leaves something in `meta` that is no JSON."""

    class Meta:
        proxy = True

    def run(self) -> None:
        """Note an object."""
        self.job.meta["what"] = object()


class BadExit(Bad):
    """Wants to end the process."""

    class Meta:
        proxy = True

    def run(self) -> None:
        """Exit."""
        sys.exit(9)


class BadInit(Bad):
    """Cannot be made from its row."""

    class Meta:
        proxy = True

    def __init__(self, *args: object, **kwargs: object) -> None:
        if args:
            raise ValueError("made from a row")
        super().__init__(*args, **kwargs)


class BadQueuedInline(BadQueued):
    """The same, run in the main thread."""

    class Meta:
        proxy = True

    policy = Policy(runner="inline")


class BadBackoffInline(BadBackoff):
    """The same, run in the main thread."""

    class Meta:
        proxy = True

    policy = Policy(runner="inline")


class BadErrorInline(BadError):
    """The same, run in the main thread."""

    class Meta:
        proxy = True

    policy = Policy(runner="inline")


class BadExitInline(BadExit):
    """The same, run in the main thread."""

    class Meta:
        proxy = True

    policy = Policy(runner="inline")


class Unportable(Exception):
    """An error that cannot be handed to another process."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")
        self.hold = threading.Lock()


class Unwelcome(Exception):
    """An error that can be unpickled only in the process that raised it."""

    def __init__(self, pid: str) -> None:
        super().__init__(pid)
        if int(pid) != os.getpid():
            raise OSError("not here")


def _die(way: str, value: str) -> None:
    """End this process, if `way` is one to do so."""
    match way:
        case "exit":
            os._exit(int(value))
        case "quit":
            # As a C library does that gives up.
            ctypes.CDLL(None).exit(int(value))
        case "signal":
            os.kill(os.getpid(), int(value))
            time.sleep(PATIENCE)
        case "mute":
            os.closerange(3, 1000)
            time.sleep(PATIENCE)
        case "orphan":
            # Leave a process behind that holds whatever this one has open.
            if (left_behind := os.fork()) == 0:
                time.sleep(PATIENCE)
                os._exit(0)
            Path(os.environ["OPERATOR_TEST_ORPHAN"]).write_text(str(left_behind))
            os._exit(3)


def _hang(way: str) -> None:
    """Go on for long, if `way` is one to do so."""
    match way:
        case "wait":
            time.sleep(PATIENCE)
        case "hold":
            gate, deadline = Path(os.environ["OPERATOR_TEST_GATE"]), time.monotonic() + PATIENCE
            while not gate.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        case "regex":
            # For longer than anybody waits, and no other thread of the process runs meanwhile: one
            # that was left behind would not notice, so it ends the hard way.
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            re.match(r"(a+)+$", "a" * 64 + "b")


class Deed(Mixed):
    """Does to its process what `ending` says."""

    class Meta:
        proxy = True

    policy = Policy(max_attempts=1, keep_jobs="all", backoff=[0.01])

    def run(self) -> None:
        """Do it, after a line in the ledger that says in which process."""
        Entry.write(self, str(os.getpid()))
        what, _, value = self.ending.partition(" ")
        _die(what, value)
        match what:
            case "unportable":
                raise Unportable("not", "here")
            case "unwelcome":
                raise Unwelcome(str(os.getpid()))
            case "fail":
                raise LookupError("no such customer")
            case "stop":
                self.stop("not yet", delay=100)
            case "cancel":
                self.cancel("not needed")
            case "meta":
                self.job.meta["what"] = threading.Lock()
            case "tell":
                logging.getLogger("deeds").warning("told")
                self.job.meta["told"] = True
                self.progress(3, 4, "nearly")
            case "child":
                # A program that an operation starts can be ended as usual.
                sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
                sleeper.terminate()
                self.job.meta["code"] = sleeper.wait(PATIENCE)
            case "regex" if value:
                self.progress(1, 4, value)
        _hang(what)
        match what:
            case "hold" if value:
                self.progress(3, 4, value)
            case "eat":
                EATEN.append(bytearray(int(value) * 1024 * 1024))

    def errored(self, error: BaseException, will_retry: bool) -> None:
        """Note it."""
        Entry.write(self, "errored")

    def succeeded(self) -> None:
        """Note it."""
        Entry.write(self, "succeeded")


EATEN: list[bytearray] = []


class AtomicDeed(Deed):
    """The same, its effects and its outcome in one transaction."""

    class Meta:
        proxy = True

    policy = Policy(atomic=True)


class LeftDeed(Deed):
    """The same, left as it is if its operator dies."""

    class Meta:
        proxy = True

    policy = Policy(on_stuck="leave")


class HoldInChild(Hold):
    """The same in a child process, with its process id and progress shown."""

    class Meta:
        proxy = True

    policy = Policy(runner="processes", max_attempts=2, backoff=[0.05])

    def run(self) -> None:
        """Write in which process; then as before."""
        Entry.write(self, str(os.getpid()))
        self.progress(1, 2, "holding")
        super().run()


class Crunch(HoldInChild):
    """Keeps a core busy until the test makes the file `path`."""

    class Meta:
        proxy = True

    def run(self) -> None:
        """Write in which process, work, write "ended"."""
        Entry.write(self, str(os.getpid()))
        self.progress(1, 2, "crunching")
        gate, deadline = Path(self.path), time.monotonic() + PATIENCE
        while not gate.exists() and time.monotonic() < deadline:
            sum(number * number for number in range(100_000))
        self.job.meta["crunched"] = True
        logging.getLogger("crunch").warning("crunched")
        Entry.write(self, "ended")


def ask_it(error: BaseException, operation: Operation) -> float | None:
    """Be a backoff that needs its operation."""
    return 0.05 if operation.path else None  # type: ignore[attr-defined]


class ShortCrunch(Crunch):
    """The same, for half a second."""

    class Meta:
        proxy = True

    policy = Policy(timeout=0.5, backoff=ask_it)


class Brood(HoldInChild):
    """Starts a program, and holds."""

    class Meta:
        proxy = True

    def run(self) -> None:
        """Write the program's process id; then as before."""
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as program:
            Entry.write(self, f"program {program.pid}")
            super().run()
            program.kill()


class ShortDeedInChild(Deed):
    """Does so in a child process, within half a second."""

    class Meta:
        proxy = True

    policy = Policy(runner="processes", timeout=0.5)


class DeedInChild(Deed):
    """Does so in a child process."""

    class Meta:
        proxy = True

    policy = Policy(runner="processes")


class ShortHoldInChild(HoldInChild):
    """Has a timeout, and does not look."""

    class Meta:
        proxy = True

    policy = Policy(timeout=0.5)


class PoliteInline(Polite):
    """Looks whether it is to end, in the operator's main thread."""

    class Meta:
        proxy = True

    policy = Policy(runner="inline")


class PatientInline(Patient):
    """The same with a timeout."""

    class Meta:
        proxy = True

    policy = Policy(runner="inline")


class Sulky(Hold):
    """Fails when it is asked to end."""

    class Meta:
        proxy = True

    policy = Policy(max_attempts=5, backoff=[0.01])

    def run(self) -> None:
        """Write "begun", wait to be asked, fail."""
        Entry.write(self, "begun")
        deadline = time.monotonic() + PATIENCE
        while not self.should_abort() and time.monotonic() < deadline:
            time.sleep(0.01)
        raise LookupError("no such customer")
