"""A process that has Django and the project loaded, and forks itself instead of starting anew.

Loading them costs most of the time of a short-lived operator. A fork of the zygote has its own
pid, session, connections, threads, settings and environment, runs the very entry point of
`python -m django`, and ends as an interpreter does; only what is imported does it share.

One for each process of pytest, started with the first operator that can use it. It lives as long
as the pipe to it: whoever ends with it, however, takes it and all its forks along.
"""

from __future__ import annotations

import gc
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from tests.databases import ROOT

FREE = {
    "DJANGO_SETTINGS_MODULE",
    "OPERATOR_TEST_FAULT",
    "OPERATOR_TEST_LOG",
    "OPERATOR_TEST_NAME",
    "OPERATOR_TEST_OPTIONS",
    "OPERATOR_TEST_SETTINGS",
    "POSTGRES_PORT",
    "MARIADB_PORT",
    "MYSQL_PORT",
}
"""Variables that a fork may have of its own: they are read by settings, which it loads anew. With
any other one, or another value of it, only a new interpreter is sure to heed it."""
SETTINGS = ("tests.settings", "tests.outages.settings")
"""The modules of settings; `FREE` names what they read."""


class Zygote:
    """The zygote of this process.

    Args:
        environment: what it starts with.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._base = _fixed(environment)
        self._asking = threading.Lock()
        self._pipe, others_end = Pipe()
        with others_end:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.zygote", str(others_end.fileno())],
                cwd=ROOT,
                env={key: value for key, value in environment.items() if key in self._base}
                | {"DJANGO_SETTINGS_MODULE": SETTINGS[0]},
                stdin=subprocess.DEVNULL,
                pass_fds=[others_end.fileno()],
                start_new_session=True,
            )

    def __repr__(self) -> str:
        return f"<Zygote: pid {self.pid}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Whether a fork would heed this environment."""
        return (
            self._process.poll() is None
            and _fixed(environment) == self._base
            and environment.get("DJANGO_SETTINGS_MODULE") in SETTINGS
        )

    def fork(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdout: Path, stderr: Path
    ) -> Fork:
        """Run `python -m django ARGUMENTS` in a fork that leads a session of its own, and writes to
        these files.
        """
        for path in (stdout, stderr):
            path.write_bytes(b"")  # so that they are there to be read from now on
        pid = self._ask("fork", list(arguments), dict(environment), str(stdout), str(stderr))
        assert pid is not None
        return Fork(self, pid)

    def reap(self, pid: int) -> int | None:
        """The exit code of a fork as `subprocess` has it, once; None while it runs.

        Until then nothing else gets its pid.
        """
        return self._ask("reap", pid)

    def close(self) -> None:
        """End it, and its forks with it."""
        self._pipe.close()
        self._process.wait()

    def _ask(self, *request: object) -> int | None:
        with self._asking:
            self._pipe.send(request)
            answer: int | None = self._pipe.recv()
        return answer


class Fork:
    """A forked process, with as much of `subprocess.Popen` as tests need."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._zygote = zygote

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._zygote.reap(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            TimeoutExpired: that of `subprocess`.
        """
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        delay = 0.001
        while (code := self.poll()) is None:
            if time.monotonic() >= deadline:
                assert timeout is not None
                raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout)
            time.sleep(delay)
            delay = min(2 * delay, 0.05)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _fixed(environment: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if key not in FREE}


def _serve(pipe: Connection) -> None:
    """Do what comes through the pipe until it is closed. Returns in forks only."""
    forks: set[int] = set()
    while True:
        try:
            verb, *details = pipe.recv()
        except EOFError:
            break
        if verb == "fork":
            if not (pid := _fork()):
                pipe.close()
                _become(*details)
                return
            forks.add(pid)
            pipe.send(pid)
        else:
            (pid,) = details
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                forks.discard(pid)
            pipe.send(os.waitstatus_to_exitcode(status) if ended else None)
    for pid in forks:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os._exit(0)


def _fork() -> int:
    """Fork; return in the zygote once the fork leads its session, so that its group can be sent
    signals from the first moment on.
    """
    ready, leads = os.pipe()
    if pid := os.fork():
        os.close(leads)
        select.select([ready], [], [])
        os.close(ready)
        return pid
    os.close(ready)
    os.setsid()
    os.close(leads)
    return 0


def _become(
    arguments: Sequence[str], environment: Mapping[str, str], stdout: str, stderr: str
) -> None:
    """Make this fork what a new interpreter would be that has imported the project."""
    for number, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-m", *arguments]
    _forget_settings()


def _forget_settings() -> None:
    """Let the next look at the settings load them from the environment as it is now."""
    import django
    from django.apps import apps
    from django.conf import empty, settings
    from django.core.signals import setting_changed
    from django.db import connections

    for name in SETTINGS:
        sys.modules.pop(name, None)
    settings._wrapped = empty
    # None has been opened. Made anew, they take what the settings now say.
    connections.__dict__.pop("settings", None)
    connections.__init__()  # type: ignore[misc]
    django.setup()
    setting_changed.send(None, setting="OPERATOR", value=None, enter=True)
    apps.get_app_config("work").ready()  # the log that the environment asks for


def _load() -> None:
    """Import what operators import. Opens no connection and starts no thread."""
    import django
    from django.conf import settings

    django.setup()
    for name in (
        settings.DATABASES["default"]["ENGINE"] + ".base",
        settings.ROOT_URLCONF,
        "operator_app.management.commands.operator",
    ):
        import_module(name)
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()  # what is never looked at again is never copied


if __name__ == "__main__":
    _load()
    _serve(Connection(int(sys.argv[1])))
    runpy.run_module("django", run_name="__main__", alter_sys=True)
