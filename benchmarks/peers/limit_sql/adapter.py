"""Inserts rows: one by one, or with one statement for many."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.adapter import serve
from benchmarks.peers.postgresql_adapter import PostgresqlAdapter

TABLE = """
    CREATE TABLE jobs (
        id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, number integer NOT NULL,
        due timestamptz NOT NULL DEFAULT now(), started timestamptz, finished timestamptz
    )
"""


class SqlAdapter(PostgresqlAdapter):
    emptied = ("jobs",)
    running = "SELECT 1 FROM jobs WHERE started IS NOT NULL AND finished IS NULL LIMIT 1"

    def prepare(self) -> None:
        self.connection.execute(TABLE)
        self.connection.execute("CREATE INDEX ON jobs (due, id) WHERE started IS NULL")

    def enqueue(self, number: int) -> None:
        self.connection.execute("INSERT INTO jobs (number) VALUES (%s)", [number])

    def enqueue_many(self, numbers: Sequence[int]) -> None:
        self.connection.execute(
            "INSERT INTO jobs (number) SELECT unnest(%s::integer[])", [list(numbers)]
        )


if __name__ == "__main__":
    serve(SqlAdapter())
