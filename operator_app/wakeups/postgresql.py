"""PostgreSQL's LISTEN: hear at once what others would only find at their next look."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from django.db import connections

from operator_app import log
from operator_app.models.watchdog import hang_up
from operator_app.wakeups.echo import Echo

LOOK: Final = 5.0
"""Seconds between two looks, without a query, at whether anything is heard at all."""
SILENCE: Final = 300.0
"""Seconds without a query: a session that asks nothing for long may be ended as idle."""
ENDING: Final = 5.0
"""Seconds that it gets to end."""
RETRY: Final = (1.0, 30.0)
"""The first and the longest wait, in seconds, before it connects again."""


class Deaf(Exception):
    """What is called does not arrive. Behind PgBouncer in transaction mode it never does."""

    def __str__(self) -> str:
        return (self.__doc__ or "").strip()


class Listener(threading.Thread):
    """Calls a function whenever somebody has notified a channel.

    Nothing depends on it: what it misses is found by the next look. So an outage is nobody's news
    here, and it tries again by itself.

    Args:
        database: the alias of a PostgreSQL database.
        calls: what to call with what was said, by the channel, on this thread. All of them, with
            nothing, after each new connection, since something may have been missed, and when the
            connection is lost, since from then on it is to be looked for.
        echo: told what is heard of it, and when nothing can be.
    """

    def __init__(
        self, database: str, calls: Mapping[str, Callable[[str], object]], echo: Echo
    ) -> None:
        super().__init__(name="listen", daemon=True)
        self._database = database
        self._calls = dict(calls)
        self._echo = echo
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
                    self._listen(connection)
            except Exception as error:
                if self._over.is_set():
                    break  # It was hung up.
                self._session = None
                if self._echo.is_heard:
                    delay = first
                self._lose(error)
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
        channels = (*self._calls, self._echo.channel)
        connection.execute("; ".join(f"LISTEN {channel}" for channel in channels))
        since = self._echo.count
        self._call_all()
        asked_at = time.monotonic()
        while not self._over.is_set():
            # All that has come, and then to look at the time; to leave the loop before would be to
            # lose what came with it.
            for notice in connection.notifies(timeout=LOOK, stop_after=1):
                if notice.channel == self._echo.channel:
                    self._echo.heard(notice.payload)
                else:
                    self._calls[notice.channel](notice.payload)
            if self._echo.is_deaf(since):
                raise Deaf
            if time.monotonic() - asked_at > SILENCE:
                asked_at = time.monotonic()
                connection.execute("SELECT 1")
                self._call_all()  # Should the driver have dropped what it heard meanwhile.

    def _lose(self, error: Exception) -> None:
        log.logger.debug(
            "Not listening to the database now: %s",
            str(error).strip(),
            extra={"action": "not_listening"},
        )
        was_heard = self._echo.is_heard
        self._echo.lost()
        if was_heard:
            self._call_all()

    def _call_all(self) -> None:
        for call in self._calls.values():
            call("")
