"""All that may call an operator out of its sleep, on one database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from django.db import connections

from operator_app import conf, log
from operator_app.models import announcements, notify
from operator_app.wakeups.echo import Echo

if TYPE_CHECKING:
    from operator_app.wakeups.postgresql import Listener
    from operator_app.wakeups.sqlite import FileWatch

PATIENCE: Final = 12.0
"""Seconds that calls may not arrive before it is said: a session that was dropped is replaced, and
heard of with the next heartbeat."""


class Calls:
    """Listens in the way that the database has: LISTEN, `data_version`, or none; and in this
    process in any case.

    None of it can be relied on, so the operator looks by itself, too, every `interval`.

    Args:
        database: the alias of the operations' database.
        due: called, from any thread, when something may be due; with the lane, if that is known
            (`lanes.as_word()`), or with nothing.
        asked: called, from any thread, when somebody may want something of what runs.
    """

    def __init__(
        self, database: str, *, due: Callable[[str], object], asked: Callable[[], object]
    ) -> None:
        self._database = database
        self._due = due
        self._something = partial(due, announcements.SOMETHING)
        self._asked = asked
        self._said = False
        self._listener: Listener | None = None
        self._file: FileWatch | None = None
        vendor = connections[database].vendor
        listens = vendor == "postgresql" and conf.get().NOTIFY
        self.echo = Echo() if listens else None
        """What the heartbeat is to call, to find out whether calls arrive."""

    def start(self) -> None:
        """Begin to listen. No queries on this thread. A driver is imported only for its own
        database: an operator that idles on PostgreSQL is a megabyte smaller without SQLite's.
        """
        announcements.subscribe(self._database, self._something)
        if self.echo is not None:
            from operator_app.wakeups.postgresql import Listener

            calls = {notify.CHANNEL: lambda _: self._asked(), announcements.CHANNEL: self._due}
            self._listener = Listener(self._database, calls, self.echo)
            self._listener.start()
        elif _is_file(self._database):
            from operator_app.wakeups.sqlite import FileWatch

            self._file = FileWatch(self._database, self._something)
            self._file.start()

    def clear(self) -> None:
        """Forget what has happened so far. Before looking for work, never after."""
        if self._file is not None:
            self._file.clear()

    def stop(self) -> None:
        """End what listens; also if it was never started."""
        if self._listener is not None:
            self._listener.stop()
        if self._file is not None:
            self._file.stop()
        announcements.unsubscribe(self._database, self._something)

    def is_told(self) -> bool:
        """Whether word of changes arrives, as far as is known. No queries."""
        return self._file is not None or (self.echo is not None and self.echo.is_heard)

    def interval(self) -> float:
        """Return the seconds after which the operator looks without having been called. It says, in
        the log, when that changes. No queries.
        """
        interval = conf.get().POLL_INTERVAL
        if self.echo is None:
            return interval
        if self.echo.lost_for > PATIENCE and not self._said:
            self._said = True
            log.logger.warning(
                "PostgreSQL's notifications do not arrive: the operator looks every %g s instead. "
                "Behind PgBouncer in transaction mode they never do: set OPERATOR['NOTIFY'] to "
                "False there.",
                interval,
                extra={"action": "polling"},
            )
        elif self.echo.is_heard and self._said:
            self._said = False
            log.logger.warning("PostgreSQL's notifications are back.", extra={"action": "hearing"})
        return announcements.horizon() if self.echo.is_heard else interval


def _is_file(database: str) -> bool:
    connection = connections[database]
    return connection.vendor == "sqlite" and not connection.is_in_memory_db()  # type: ignore[attr-defined]
