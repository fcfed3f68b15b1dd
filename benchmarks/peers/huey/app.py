"""What `huey_consumer` is given."""

from __future__ import annotations

import sqlite3
from typing import Any

from huey import Huey, PostgresHuey, RedisHuey, SqliteHuey
from huey.storage import SqliteStorage

from benchmarks.peers.adapter import is_best, place, url
from benchmarks.peers.marks import mark


class NormalSqliteStorage(SqliteStorage):
    """Asks SQLite for what the others ask of it; huey itself knows FULL and OFF only."""

    def _create_connection(self) -> sqlite3.Connection:
        connection = super()._create_connection()
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection


def make() -> Huey:
    """Return huey on the database of this run."""
    where: dict[str, Any] = place()
    if where["vendor"] == "postgresql":
        return PostgresHuey("bench", dsn=url())
    if where["vendor"] == "redis":
        return RedisHuey("bench", url=url())
    if is_best():
        return Huey("bench", storage_class=NormalSqliteStorage, filename=where["name"])
    return SqliteHuey("bench", filename=where["name"])


huey = make()


@huey.task()
def tick(number: int) -> None:
    """Leave a mark."""
    mark(number)
