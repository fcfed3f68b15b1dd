"""What the adapters of contenders on PostgreSQL outside of Django share."""

from __future__ import annotations

import psycopg

from benchmarks.peers import copies
from benchmarks.peers.adapter import Adapter, url


class PostgresqlAdapter(Adapter):
    """Looks at the contender's tables over a connection of its own."""

    emptied: tuple[str, ...]
    """Tables of jobs."""
    running: str
    """A query that finds a row while a job has begun whose end is not recorded."""

    def __init__(self) -> None:
        self.connection = psycopg.connect(url(), autocommit=True)

    def clear(self) -> None:
        self.connection.execute(f"TRUNCATE {', '.join(self.emptied)} CASCADE")

    def busy(self) -> bool:
        return self.connection.execute(self.running).fetchone() is not None

    def copy(self, table: str, key: str, count: int, made: str | None = None) -> None:
        """Insert copies of the only row of a table, with new keys, and tell the planner.

        Triggers stay silent, as they would tell every worker of every row.

        Args:
            made: the expression that makes a key; None if the column does so by default.
        """
        columns = self.connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s "
            "AND column_name <> %s AND is_generated = 'NEVER'",
            [table, key],
        ).fetchall()
        changed = {key: made} if made else {}
        insert = copies.insert(
            "postgresql", table, [name for (name,) in columns], count, changed=changed
        )
        with self.connection.transaction():
            self.connection.execute("SET LOCAL session_replication_role = replica")
            self.connection.execute(insert)
        self.connection.execute(f"ANALYZE {table}")
