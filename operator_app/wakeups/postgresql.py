"""PostgreSQL's LISTEN: hear at once what others would only find at their next look."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from django.db import connections

from operator_app import log
from operator_app.models.notify import CHANNEL
from operator_app.models.watchdog import hang_up

HEARING: Final = 60.0
"""Seconds that it listens at a time: a session that says nothing for long may be forgotten."""
ENDING: Final = 5.0
"""Seconds that it gets to end."""
RETRY: Final = (1.0, 30.0)
"""The first and the longest wait, in seconds, before it connects again."""


class Listener(threading.Thread):
    """Calls a function whenever somebody has asked something of what runs.

    Nothing depends on it: what it misses is found by the next look. So an outage is nobody's news
    here, and it tries again by itself.

    Args:
        database: the alias of a PostgreSQL database.
        heard: called on this thread; also after each new connection, since something may have been
            missed.
    """

    def __init__(self, database: str, heard: Callable[[], object]) -> None:
        super().__init__(name="listen", daemon=True)
        self._database = database
        self._heard = heard
        self._over = threading.Event()
        self._session: Any = None

    def stop(self) -> None:
        """Let the thread close its connection and end."""
        self._over.set()
        if self._session is not None:
            with suppress(Exception):  # It has just ended.
                hang_up(self._session)
        if self.is_alive():
            self.join(timeout=ENDING)

    def run(self) -> None:
        """Listen until told to stop; connect anew, after growing pauses, when that ends."""
        first, longest = RETRY
        delay = first
        while not self._over.is_set():
            try:
                with self._connection() as connection:
                    self._session = connection
                    connection.execute(f"LISTEN {CHANNEL}")
                    delay = first
                    self._listen(connection)
            except Exception as error:
                if self._over.is_set():
                    break  # It was hung up.
                log.logger.debug(
                    "Not listening to the database now: %s",
                    str(error).strip(),
                    extra={"action": "not_listening"},
                )
                self._session = None
                self._over.wait(delay * random.uniform(0.5, 1.0))
                delay = min(longest, delay * 2)

    def _connection(self) -> Any:
        """Return a connection of its own, outside of Django's and of any pool: LISTEN belongs to a
        session, and one that waits has no transaction.
        """
        import psycopg

        parameters = dict(connections[self._database].get_connection_params())
        parameters.pop("pool", None)
        return psycopg.connect(**parameters | {"autocommit": True})

    def _listen(self, connection: Any) -> None:
        self._heard()
        while not self._over.is_set():
            for _ in connection.notifies(timeout=HEARING, stop_after=1):
                self._heard()
            connection.execute("SELECT 1")
