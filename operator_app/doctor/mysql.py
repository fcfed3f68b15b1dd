"""What is found in MySQL and MariaDB: transactions that keep the history of rows from being purged.

Each change of a row leaves its old version in the undo logs, the history list, and InnoDB purges it
only when no open transaction could still read it. Index entries that are marked as deleted stay for
as long, and claims read their way over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from operator_app.doctor.answers import ask, shortened
from operator_app.doctor.finding import Finding
from operator_app.moments import in_words

# At READ COMMITTED, one that has only read and runs no statement keeps nothing; its weight is 0.
# trx_started is in the time zone of the server's host, whatever the session's is.
_TRANSACTIONS: Final = """
SELECT id, user, host, command, seconds, trx_rows_modified, COALESCE(trx_query, info)
FROM (
    SELECT trx.*, TIMESTAMPDIFF(
        SECOND, trx_started, CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM')
    ) AS seconds
    FROM information_schema.innodb_trx trx
) open
LEFT JOIN information_schema.processlist session ON session.id = open.trx_mysql_thread_id
WHERE trx_mysql_thread_id NOT IN (0, CONNECTION_ID()) AND seconds >= %s
  AND NOT (
      trx_isolation_level IN ('READ COMMITTED', 'READ UNCOMMITTED')
      AND trx_query IS NULL AND trx_weight = 0
  )
ORDER BY seconds DESC
"""
_HISTORY: Final = (
    "SELECT count FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len'"
)


def long_transactions(alias: str, older_than: float) -> Iterator[Finding]:
    """Yield a problem for each transaction of another session, in whichever database of the server,
    that has been open for that many seconds and keeps history. Two queries at most.

    Raises:
        NotAllowed: without the privilege PROCESS.
    """
    found = ask(alias, _TRANSACTIONS, [older_than])
    if not found:
        return
    ((history,),) = ask(alias, _HISTORY)
    for row in found:
        yield _Session(*row).finding(history)


class _Session(NamedTuple):
    """A session with an open transaction."""

    number: int
    user: str
    host: str
    command: str
    seconds: int
    rows: int
    """How many it has changed."""
    statement: str | None

    def finding(self, history: int) -> Finding:
        """Return what is to be said of it, where the history list is that long."""
        doing = f"Its statement: {shortened(self.statement)}" if self.statement else "It is idle."
        return Finding(
            "doctor.long_transaction",
            "problem",
            f"Session {self.number} (user {self.user}, from {self.host}, {self.command}) has had a "
            f"transaction open for {in_words(self.seconds)}, in which it has changed {self.rows:,} "
            "rows: old versions of operations cannot be purged, so claims get slower and slower. "
            f"The history list has {history:,} entries. {doing}",
            f"Commit or roll back there; if nobody can: KILL {self.number}.",
        )
