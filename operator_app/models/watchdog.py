"""Cuts connections on which the server has stopped answering, where nobody else would notice.

libpq waits for an answer for ever. As long as the server's host, or a proxy before it, acknowledges
every packet, no timeout of TCP ends that wait. Only PostgreSQL is watched: the drivers of the other
servers have `read_timeout`, and SQLite has no server.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Final

from django.db import Error, OperationalError, connections

from operator_app import conf, log
from operator_app.models.connections import reset
from operator_app.models.transactions import patient

LOOK: Final = 1.0
"""Seconds between two looks at those who may be waiting."""
CANCEL: Final = 2.0
"""Seconds that a server gets to end, when asked, what it has not answered."""

_ACTIVE: Final = 1
"""libpq's status of a connection that has sent a statement and waits for its answer."""

_sections: dict[int, _Section] = {}
"""Of the threads that are being watched, by their ids."""
_thread: threading.Thread | None = None
_starting = threading.Lock()


class _Section:
    """What one thread is doing with its connections, from its first statement to its last.

    Age is counted in looks, not by a clock, so that nothing is cut after the whole process was
    stopped for a while; and from the last statement, so that much work is no reason to be cut.
    """

    def __init__(self, wrappers: list[Any], timeout: float) -> None:
        self.wrappers = wrappers
        self.timeout = timeout
        self.paused = False
        self.is_over = False
        self.was_cut = False
        # Whoever looks holds it, so that after the section's end, or in a pause, nothing is cut.
        self.lock = threading.Lock()
        self._steps = 0
        self._seen = -1
        self._looks = 0

    def step(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        """Note a sign of life before and after each statement: an `execute_wrapper`."""
        self._steps += 1
        try:
            return execute(*arguments)
        finally:
            self._steps += 1

    def look(self) -> None:
        """Cut the thread's connections if it waits for the same answer as `timeout` ago."""
        with self.lock:
            if self.is_over or self.paused or self._steps != self._seen:
                self._looks, self._seen = 0, self._steps
                return
            self._looks += 1
            if self._looks * LOOK >= self.timeout:
                self._looks = 0
                cut = [_cut(wrapper.connection) for wrapper in self.wrappers]
                self.was_cut = self.was_cut or any(cut)

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Do not look in this block."""
        before = self.paused
        with self.lock:
            self.paused = True
        try:
            yield
        finally:
            self._steps += 1
            self.paused = before

    @contextmanager
    def open(self) -> Iterator[None]:
        """Be looked at in this block."""
        with ExitStack() as stack:
            for wrapper in self.wrappers:
                # Not `execute_wrapper()`, whose end removes whichever was added last.
                wrapper.execute_wrappers.append(self.step)
                stack.callback(wrapper.execute_wrappers.remove, self.step)
            thread = threading.get_ident()
            _sections[thread] = self
            try:
                yield
            finally:
                del _sections[thread]
                with self.lock:
                    self.is_over = True


@contextmanager
def watching(*aliases: str) -> Iterator[None]:
    """Do not let this thread wait for one answer of a server for ever. For the engine's own work.

    Where none has come for `OPERATOR["HEARTBEAT"]["timeout"]` seconds, the statement is cancelled
    and the connection is cut. No queries. Inside another such block it changes nothing.

    Args:
        aliases: of the databases that will be used; connections that the thread has are watched
            too.

    Raises:
        OperationalError: that says so, in place of the error that the cut has caused.
    """
    used = {*map(connections.__getitem__, aliases), *connections.all(initialized_only=True)}
    wrappers = [wrapper for wrapper in used if wrapper.vendor == "postgresql"]
    if not wrappers or threading.get_ident() in _sections:
        yield
        return
    section = _Section(wrappers, conf.get().HEARTBEAT.timeout)
    _ensure_thread()
    said = f"no answer for {section.timeout:g} s: the connection is cut"
    try:
        with section.open():
            yield
    except Error as error:
        if section.was_cut:
            raise OperationalError(said) from error
        raise
    if section.was_cut:
        log.logger.warning("The database: %s.", said, extra={"action": "cut"})
        reset()


@contextmanager
def pausing() -> Iterator[None]:
    """Leave this thread alone in this block, which runs user code: its statements take their time.

    Nothing happens in a thread that is not being watched.
    """
    section = _sections.get(threading.get_ident())
    with patient(), nullcontext() if section is None else section.pausing():
        yield


def break_off(wrapper: Any) -> None:
    """End the transaction that another thread has open, so that its locks are free. For a process
    that is about to leave that thread behind: its connection is of no use afterwards.

    No query, but on MySQL and MariaDB one KILL on this thread's own connection. Never raises.
    """
    raw = wrapper.connection
    if raw is None or not wrapper.in_atomic_block:
        return
    try:
        if wrapper.vendor == "sqlite":
            raw.interrupt()
            raw.close()
        elif wrapper.vendor == "mysql":
            with connections[wrapper.alias].cursor() as cursor:
                cursor.execute("KILL CONNECTION %s", [raw.thread_id()])
        elif wrapper.vendor == "postgresql":
            _cancel(raw)
            hang_up(raw)
    except Exception as error:
        log.logger.warning(
            "A transaction could not be broken off: %s", error, extra={"action": "not_broken_off"}
        )


def _ensure_thread() -> None:
    global _thread  # noqa: PLW0603  (one for the process, started with its first section)
    with _starting:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_watch, name="watchdog", daemon=True)
            _thread.start()


def _watch() -> None:
    while True:
        time.sleep(LOOK)
        for section in list(_sections.values()):
            try:
                section.look()
            except Exception:
                log.logger.exception(
                    "The watchdog met an error of its own.", extra={"action": "engine_raised"}
                )


def _cut(connection: Any) -> bool:
    """End the wait for an answer on a driver's connection; return whether there was one."""
    if not _waits(connection):
        return False
    _cancel(connection)
    try:
        hang_up(connection)
    except Exception:
        pass  # It has ended by itself in this moment.
    return True


def hang_up(connection: Any) -> None:
    """End the session of a driver's connection, whatever another thread does with it.

    Raises:
        OSError, psycopg.Error: if it has ended by itself in this moment.
    """
    number = connection.fileno()
    # The family does not matter for what follows.
    with socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as copy:
        # Asked again after the copy was made: a connection that is open now was open then, so that
        # this is its socket, and not another one that got the same number meanwhile.
        if connection.fileno() == number:
            copy.shutdown(socket.SHUT_RDWR)


def _waits(connection: Any) -> bool:
    try:
        return connection is not None and connection.info.transaction_status == _ACTIVE
    except Exception:
        return False  # It was closed in this moment.


def _cancel(connection: Any) -> None:
    """Ask the server to end the statement. One that waits for a lock does not notice that its
    client has gone: at each new try one more session would wait beside it.
    """
    from psycopg import capabilities

    if not capabilities.has_cancel_safe():
        return  # The old way to cancel waits for the server without a limit.
    try:
        connection.cancel_safe(timeout=CANCEL)
    except Exception:
        pass  # The server does not answer this either.
