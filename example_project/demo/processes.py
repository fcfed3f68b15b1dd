"""Starts the commands of this project as processes of their own, and ends them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from django.conf import settings

MANAGE = settings.HERE.parent / "manage.py"
ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "DJANGO_RUNSERVER_HIDE_WARNING": "true"}
PATIENCE = 40
"""Seconds that a process may take to end: more than the grace of an operator."""


@contextmanager
def running(
    *arguments: str, partners_url: str, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `manage.py` with these arguments while the block runs; SIGTERM ends it.

    The process is in a session of its own, so that Ctrl-C reaches this process only, which then
    ends the others one by one.

    Args:
        partners_url: where the process finds the shop's partners.
        log: the file that takes its output; without one, it goes to the terminal.
    """
    output = log.open("wb") if log else None
    process = subprocess.Popen(
        [sys.executable, str(MANAGE), *arguments],
        env=os.environ | ENVIRONMENT | {"EXAMPLE_PARTNERS_URL": partners_url},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
    )
    if output:
        output.close()
    try:
        yield process
    finally:
        end(process)


def kill(pid: int) -> None:
    """End a process as a power cut would: it hears nothing and can do nothing more."""
    os.kill(pid, signal.SIGKILL)


def end(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to end, and return its exit code. Killed if it takes too long, or on Ctrl-C."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        return process.wait()


def exit_on_signals() -> None:
    """Make SIGTERM and SIGHUP end this process the orderly way, as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
