"""SQLite's `data_version`: see at once that somebody has written to the file."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from django.db import connections

from operator_app import log

LOOK: Final = 0.02
"""Seconds between two looks."""
REOPEN: Final = 1.0
"""Seconds before a file that could not be looked at is opened again."""
ENDING: Final = 5.0
"""Seconds that it gets to end."""


class FileWatch(threading.Thread):
    """Calls a function whenever another connection has changed the file.

    `PRAGMA data_version` compares a number in shared memory, or in the file's first page, with what
    its connection has seen before. It reads no table, waits for no lock, and costs microseconds.

    What has changed is not known: it may have been this operator. So `clear()` is called before
    each look for work, and what is in the file by then is no news.

    Args:
        database: the alias of a SQLite database in a file.
        changed: called on this thread.
    """

    def __init__(self, database: str, changed: Callable[[], object]) -> None:
        super().__init__(name="file-watch", daemon=True)
        self._database = database
        self._changed = changed
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._seen: int | None = None

    def start(self) -> None:
        """Take what is in the file now as seen, and begin to look."""
        with suppress(sqlite3.Error):
            self._open()
            self._look()
        super().start()

    def clear(self) -> None:
        """Take what is in the file now as seen. Before looking for work, never after."""
        # Whoever cannot look will be told by the look for work, or by the other thread.
        with suppress(sqlite3.Error):
            self._look()

    def stop(self) -> None:
        """Let the thread close its connection and end."""
        self._over.set()
        if self.is_alive():
            self.join(timeout=ENDING)

    def run(self) -> None:
        """Look until told to stop."""
        while not self._over.is_set():
            # Cheaper than a wait for `stop()`, which can wait for this.
            time.sleep(LOOK)
            try:
                self._open()
                if self._look():
                    self._changed()
            except sqlite3.Error as error:
                log.logger.debug(
                    "The file cannot be looked at now: %s", error, extra={"action": "not_looking"}
                )
                self._close()
                self._over.wait(REOPEN)
        self._close()

    def _look(self) -> bool:
        """Return whether the file has changed since the last look, whoever's that was."""
        with self._lock:
            if self._connection is None:
                return False
            try:
                (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    return False  # Somebody is just writing, and the next look will see it.
                raise
            before, self._seen = self._seen, version
            return bool(before != version)

    def _open(self) -> None:
        if self._connection is not None:
            return
        parameters: dict[str, Any] = connections[self._database].get_connection_params()
        wanted = {name: parameters[name] for name in ("database", "uri") if name in parameters}
        # Without a transaction, and without waiting for anybody.
        connection = sqlite3.connect(
            **wanted, isolation_level=None, timeout=0, check_same_thread=False
        )
        with self._lock:
            self._connection = connection

    def _close(self) -> None:
        with self._lock:
            connection, self._connection, self._seen = self._connection, None, None
            if connection is not None:
                connection.close()
