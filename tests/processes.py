"""Real operator processes for tests: started, watched, stopped and, at the latest, cleared away.

def test_it(start_operator):
    operator = start_operator("--threads", "2")
    poll(lambda: Operation.objects.finished().count() == 3, message="three finished")
    operator.terminate()
    assert operator.wait() == 0
    assert operator.log
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from django.db import connections

from tests.databases import ROOT
from tests.zygote import Fork, Zygote

T = TypeVar("T")


def poll(
    predicate: Callable[[], T],
    timeout: float = 30,
    message: str | Callable[[], str] = "",
    interval: float = 0.02,
) -> T:
    """Wait until `predicate()` is true and return what it returned; fail after `timeout` seconds.

    The only place where tests sleep. `message` says what was waited for; a callable is asked only
    when the time is up, so it may look at what is there instead.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() >= deadline:
            text = message() if callable(message) else message
            pytest.fail(f"Waited {timeout:g} s in vain: {text or predicate!r}")
        time.sleep(interval)
    return value


def environment() -> dict[str, str]:
    """What the processes of tests find in their environment, whatever the test."""
    # The operator is run as users run it: warnings of ours as errors are for pytest's process.
    dropped = {"PYTHONWARNINGS", "PYTHONDEVMODE"}
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in dropped and not key.startswith(("PYTEST_", "COV_"))
    }
    return kept | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


def _can_be_locked(file: str | Path, within: float = 1) -> bool:
    """Whether another process gets the lock of an SQLite file within so many seconds."""
    with closing(sqlite3.connect(file, timeout=within, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
        return True


def _is_stopped(pid: int) -> bool:
    """Whether no thread of a process runs any more. A signal to stop is taken by one of them: on a
    busy machine the others go on until that one has its turn.
    """
    states = [
        file.read_text().rpartition(")")[2].split()[0]
        for file in Path(f"/proc/{pid}/task").glob("*/stat")
    ]
    return set(states) == {"T"}


class OperatorUnderTest:
    """One `manage.py operator` process on the database of the running test.

    It leads a process group of its own, so that children it starts can be cleared away with it. It
    is a fork of this process's zygote, or a new interpreter if its environment asks for more than
    other settings.
    """

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        command: str = "operator",
        alias: str = "default",
        env: dict[str, str] | None = None,
        zygote: Zygote | None = None,
    ) -> None:
        self.arguments = (command, *arguments)
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        settings = connections[alias].settings_dict
        self._file = settings["NAME"] if settings["ENGINE"].endswith("sqlite3") else None
        self._process = self._start({**self._environment(alias), **(env or {})}, zygote)

    def _start(
        self, environment: dict[str, str], zygote: Zygote | None
    ) -> subprocess.Popen[bytes] | Fork:
        if zygote is not None and zygote.suits(environment):
            return zygote.fork(self.arguments, environment, self._stdout, self._stderr)
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "django", *self.arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @staticmethod
    def _environment(alias: str) -> dict[str, str]:
        name = str(connections[alias].settings_dict["NAME"])
        return environment() | {"OPERATOR_TEST_NAME": name}

    @property
    def is_fork(self) -> bool:
        """Whether it shares what is imported with other processes."""
        return isinstance(self._process, Fork)

    def __repr__(self) -> str:
        state = "running" if self.running else f"exit code {self.returncode}"
        return f"<{' '.join(self.arguments)}: pid {self.pid}, {state}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for the signal that ended it; None while it runs."""
        return self._process.poll()

    @property
    def stdout(self) -> str:
        return self._stdout.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(errors="replace")

    @property
    def log(self) -> str:
        """All it has written so far: stderr, where log lines go, then stdout."""
        return self.stderr + self.stdout

    def signal(self, number: int) -> None:
        """Send it a signal; one that has ended already is left alone."""
        self._process.send_signal(number)

    def freeze(self, timeout: float = 30) -> None:
        """SIGSTOP, but never while it holds the lock of an SQLite file: all others would have to
        wait until it goes on, and no server ends its session.

        In a transaction on a server it may be stopped. Its locks are kept for one timeout of its
        heartbeat then, which is to be short where a test waits for what another operator does.
        """
        __tracebackhide__ = True
        poll(self._stopped_without_lock, timeout, f"{self!r} to stop, and to hold no lock")

    def thaw(self) -> None:
        """SIGCONT: it goes on."""
        self.signal(signal.SIGCONT)

    def _stopped_without_lock(self) -> bool:
        self.signal(signal.SIGSTOP)
        if not _is_stopped(self.pid):
            return False
        if self._file is None or _can_be_locked(self._file):
            return True
        self.thaw()
        return False

    def terminate(self) -> None:
        """SIGTERM: it is to end gracefully."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, to it alone, and wait for its end."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout: float = 30) -> int:
        """Its exit code, once it has ended; the test fails if that takes longer."""
        __tracebackhide__ = True
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self!r} has not ended within {timeout:g} s. Its log:\n{self.log}")

    def wait_for_log(self, text: str, timeout: float = 30) -> None:
        """Wait until it has written `text`; fails at once if it ends without."""
        __tracebackhide__ = True
        poll(
            lambda: text in self.log or not self.running,
            timeout,
            lambda: f"{self!r} to write {text!r}. Its log:\n{self.log}",
        )
        if text not in self.log:
            pytest.fail(f"{self!r} ended without writing {text!r}. Its log:\n{self.log}")

    def ask_to_end(self) -> None:
        """SIGTERM, heard also by a process that a test has stopped. Called after every test."""
        if self.running:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)

    def clear_away(self, grace: float = 15) -> bool:
        """Wait for its end, kill it if need be; False if so. Called after every test."""
        try:
            self._process.wait(grace)
            graceful = True
        except subprocess.TimeoutExpired:
            graceful = False
        # The group is ours alone: whatever is left in it was started by this process.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        return graceful


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote | None]:
    """What operators are forked from; None with OPERATOR_TEST_FRESH=1."""
    if os.environ.get("OPERATOR_TEST_FRESH") == "1":
        yield None
        return
    zygote = Zygote(environment())
    yield zygote
    zygote.close()


@pytest.fixture
def start_operator(
    transactional_db: None, tmp_path: Path, zygote: Zygote | None
) -> Iterator[Callable[..., OperatorUnderTest]]:
    """Start `manage.py operator ARGUMENTS` on this test's database; as many as you like.

    Keywords: `env` adds to the environment, `command` runs another management command. Whatever
    still runs when the test is over is terminated; one that must be killed for it fails the test.
    """
    started: list[OperatorUnderTest] = []

    def start(
        *arguments: str,
        command: str = "operator",
        env: dict[str, str] | None = None,
        alias: str = "default",
    ) -> OperatorUnderTest:
        folder = tmp_path / f"process_{len(started)}"
        folder.mkdir()
        process = OperatorUnderTest(
            *arguments, folder=folder, command=command, alias=alias, env=env, zygote=zygote
        )
        started.append(process)
        return process

    yield start

    for process in started:
        process.ask_to_end()
    stubborn = [process for process in started if not process.clear_away()]
    if stubborn:
        logs = "\n".join(f"{process!r}\n{process.log}" for process in stubborn)
        pytest.fail(f"Had to be killed after the test:\n{logs}", pytrace=False)
