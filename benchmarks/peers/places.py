"""Where a contender's jobs are: a database of its own, made for one measurement run and dropped."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.databases import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

REDIS_PORT = 6379


@dataclass(frozen=True)
class Place:
    """An empty database, file or Redis database, and how to reach it."""

    vendor: str
    name: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""

    def description(self) -> dict[str, Any]:
        """Return it as adapters are told."""
        return asdict(self)

    def url(self) -> str:
        """Return it as clients on the command line want it."""
        return f"{self.vendor}://{self.host}:{self.port}/{self.name}"

    def queries(self) -> int | None:
        """Return how many transactions (PostgreSQL) or commands (Redis) there were so far.

        Redis counts those of all its databases. None where nobody counts.
        """
        if self.vendor == "postgresql":
            with _postgresql() as connection:
                row = connection.execute(
                    "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s",
                    [self.name],
                ).fetchone()
            return int(row[0])
        if self.vendor == "mariadb":
            with _mariadb() as cursor:
                cursor.execute("SHOW GLOBAL STATUS LIKE 'Questions'")
                return int(cursor.fetchone()[1])
        if self.vendor == "redis":
            return int(_redis(0).info("stats")["total_commands_processed"])
        return None


def servers() -> dict[str, str]:
    """Every vendor that answers, with its version."""
    found = {"sqlite": f"SQLite {sqlite3.sqlite_version}"}
    with suppress(Exception), _postgresql() as connection:
        version = connection.execute("SHOW server_version").fetchone()[0]
        found["postgresql"] = f"PostgreSQL {version.partition(' ')[0]}"
    with suppress(Exception), _mariadb() as cursor:
        cursor.execute("SELECT version()")
        found["mariadb"] = f"MariaDB {cursor.fetchone()[0].partition('-')[0]}"
    with suppress(Exception):
        found["redis"] = f"Redis {_redis(0).info('server')['redis_version']}"
    return found


def durability(vendor: str) -> dict[str, str]:
    """Return the settings of a server that say when a commit is safe."""
    if vendor == "postgresql":
        with _postgresql() as connection:
            names = ("fsync", "synchronous_commit", "full_page_writes")
            return {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in names}
    if vendor == "mariadb":
        with _mariadb() as cursor:
            cursor.execute(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN "
                "('innodb_flush_log_at_trx_commit', 'sync_binlog', 'innodb_doublewrite')"
            )
            return dict(cursor.fetchall())
    if vendor == "redis":
        return {"appendonly": _redis(0).config_get("appendonly")["appendonly"]}
    return {"journal_mode": "wal", "synchronous": "normal, except where a contender says otherwise"}


@contextmanager
def place(vendor: str, name: str, folder: Path) -> Iterator[Place]:
    """Have an empty database of this name while the block runs."""
    if vendor == "sqlite":
        home = folder / name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        yield Place(vendor, str(home / "jobs.sqlite3"))
        shutil.rmtree(home, ignore_errors=True)
        return
    if vendor == "redis":
        yield from _redis_place()
        return
    address = Address.of(vendor)
    drop = f"DROP DATABASE IF EXISTS {name}"
    if vendor == "postgresql":
        drop += " WITH (FORCE)"
    _run(vendor, drop, f"CREATE DATABASE {name}")
    try:
        yield Place(vendor, name, **asdict(address))
    finally:
        _run(vendor, drop)


def _redis_place() -> Iterator[Place]:
    """Find a Redis database with nothing in it, and leave it so."""
    for number in range(15, 0, -1):
        client = _redis(number)
        if not client.dbsize():
            try:
                yield Place("redis", str(number), "127.0.0.1", REDIS_PORT)
            finally:
                client.flushdb()
            return
    raise LookupError("Redis has no empty database among 1 to 15; empty one of them")


def _run(vendor: str, *statements: str) -> None:
    if vendor == "postgresql":
        with _postgresql() as connection:
            for statement in statements:
                connection.execute(statement)
    else:
        with _mariadb() as cursor:
            for statement in statements:
                cursor.execute(statement)


def _postgresql() -> Any:
    import psycopg

    address = Address.of("postgresql")
    return psycopg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        dbname="postgres",
        autocommit=True,
    )


@contextmanager
def _mariadb() -> Iterator[Any]:
    import MySQLdb

    address = Address.of("mariadb")
    connection = MySQLdb.connect(
        host=address.host, port=address.port, user=address.user, password=address.password
    )
    try:
        yield connection.cursor()
    finally:
        connection.close()


def _redis(number: int) -> Any:
    import redis

    return redis.Redis(port=REDIS_PORT, db=number, socket_timeout=5, decode_responses=True)
