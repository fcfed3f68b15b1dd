"""The databases of the tests: where they are, whether they answer, and Django's settings for one.

Read from the environment, with defaults that fit a server installed on this machine:

    POSTGRES_HOST 127.0.0.1  POSTGRES_PORT 5432  POSTGRES_USER postgres  POSTGRES_PASSWORD (empty)
    POSTGRES_DB postgres     the database to connect to for making the test database
    MARIADB_HOST 127.0.0.1   MARIADB_PORT 3306   MARIADB_USER root       MARIADB_PASSWORD (empty)
    MYSQL_HOST ...           the same for a MySQL server beside the MariaDB one; without them, a
                             MySQL server that answers at MARIADB_* is used under its own name

Nothing here needs Django, so that `tests.run` can look around before any settings exist.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "test"
NAMES = ("sqlite", "postgresql", "mariadb", "mysql")

_held_locks: list[int] = []  # kept open: a slot is ours while this process lives


@dataclass(frozen=True)
class Found:
    """A database that answers."""

    name: str
    server: str


@dataclass(frozen=True)
class Missing:
    """A database that cannot be used, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Address:
    """Where a server is and who we are there."""

    host: str
    port: int
    user: str
    password: str

    @classmethod
    def of(cls, name: str) -> Address:
        if name == "postgresql":
            return cls._from("POSTGRES", port=5432, user="postgres")
        if name == "mysql" and ("MYSQL_HOST" in os.environ or "MYSQL_PORT" in os.environ):
            return cls._from("MYSQL", port=3306, user="root")
        return cls._from("MARIADB", port=3306, user="root")

    @classmethod
    def _from(cls, prefix: str, *, port: int, user: str) -> Address:
        host = os.environ.get(f"{prefix}_HOST") or "127.0.0.1"
        if host == "localhost" and prefix != "POSTGRES":
            host = "127.0.0.1"  # the client library takes "localhost" to mean the socket
        return cls(
            host=host,
            port=int(os.environ.get(f"{prefix}_PORT") or port),
            user=os.environ.get(f"{prefix}_USER") or user,
            password=os.environ.get(f"{prefix}_PASSWORD", ""),
        )

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


def look() -> list[Found | Missing]:
    """Every database the tests know, as it is now. Connects once to each, 5 seconds at most."""
    results = [probe("sqlite"), probe("postgresql"), probe("mariadb")]
    mysql = probe("mysql")
    if isinstance(mysql, Found) or Address.of("mysql") != Address.of("mariadb"):
        results.append(mysql)
    return results


def probe(name: str) -> Found | Missing:
    """Whether the database of this name can be used now."""
    if name == "sqlite":
        return Found(name, f"SQLite {sqlite3.sqlite_version}")
    if name == "postgresql":
        return _probe_postgresql()
    if name in {"mariadb", "mysql"}:
        return _probe_mysql(name)
    return Missing(name, f"no such database; the tests know {', '.join(NAMES)}")


def _probe_postgresql() -> Found | Missing:
    address = Address.of("postgresql")
    try:
        import psycopg
    except ImportError as error:
        return Missing("postgresql", f"client library missing (extra 'postgresql'): {error}")
    try:
        with psycopg.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            dbname=os.environ.get("POSTGRES_DB") or "postgres",
            connect_timeout=5,
        ) as connection:
            row = connection.execute("SHOW server_version").fetchone()
    except psycopg.Error as error:
        return Missing("postgresql", f"no connection as {address}: {_first_line(error)}")
    assert row is not None
    return Found("postgresql", f"PostgreSQL {str(row[0]).partition(' ')[0]}")


def _probe_mysql(name: str) -> Found | Missing:
    address = Address.of(name)
    try:
        import MySQLdb
    except ImportError as error:
        return Missing(name, f"client library missing (extra 'mysql'): {error}")
    try:
        with (
            closing(
                MySQLdb.connect(
                    host=address.host,
                    port=address.port,
                    user=address.user,
                    password=address.password,
                    connect_timeout=5,
                )
            ) as connection,
            closing(connection.cursor()) as cursor,
        ):
            cursor.execute("SELECT VERSION()")
            version = str(cursor.fetchone()[0])
    except MySQLdb.Error as error:
        return Missing(name, f"no connection as {address}: {_first_line(error)}")
    vendor = "mariadb" if "mariadb" in version.lower() else "mysql"
    if vendor != name:
        return Missing(name, f"the server at {address} is {vendor} {version}")
    product = "MariaDB" if vendor == "mariadb" else "MySQL"
    return Found(name, f"{product} {version.partition('-')[0]}")


def _first_line(error: Exception) -> str:
    text = str(error.args[-1]) if error.args else ""
    return (text.strip() or type(error).__name__).splitlines()[0]


def databases(name: str) -> dict[str, dict[str, Any]]:
    """Django's DATABASES for the database of this name.

    A process that a test starts gets OPERATOR_TEST_NAME and so connects to the very database of
    that test. Every other process gets names that no test run going on at the same time uses.
    """
    if name not in NAMES:
        raise ValueError(f"OPERATOR_TEST_DATABASE={name!r}: the tests know {', '.join(NAMES)}.")
    running = os.environ.get("OPERATOR_TEST_NAME")
    settings = _sqlite(running) if name == "sqlite" else _server(name, running)
    return {"default": settings}


def _sqlite(running: str | None) -> dict[str, Any]:
    BUILD.mkdir(parents=True, exist_ok=True)
    test_name = running or str(BUILD / f"sqlite_{slot()}.sqlite3")
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": running or str(BUILD / "unused.sqlite3"),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
        "TEST": {"NAME": test_name},
    }


def _server(name: str, running: str | None) -> dict[str, Any]:
    address = Address.of(name)
    settings: dict[str, Any] = {
        "HOST": address.host,
        "PORT": address.port,
        "USER": address.user,
        "PASSWORD": address.password,
        "TEST": {"NAME": running or f"test_operator_{_checkout()}_{slot()}"},
    }
    if name == "postgresql":
        settings["ENGINE"] = "django.db.backends.postgresql"
        settings["NAME"] = running or os.environ.get("POSTGRES_DB") or "postgres"
        settings["OPTIONS"] = {"connect_timeout": 10}
    else:
        settings["ENGINE"] = "django.db.backends.mysql"
        settings["NAME"] = running or ""
        settings["OPTIONS"] = {"charset": "utf8mb4", "isolation_level": "read committed"}
        settings["TEST"]["CHARSET"] = "utf8mb4"
    return settings


def _checkout() -> str:
    """Two checkouts on one server never share a database."""
    return hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]


def slot() -> str:
    """The lowest number that no other test run in this checkout holds.

    Held until this process ends, however it ends; inherited by xdist's workers through the
    environment. What a killed run left behind is taken over with its slot, not added to.
    """
    if taken := os.environ.get("OPERATOR_TEST_SLOT"):
        return taken
    BUILD.mkdir(parents=True, exist_ok=True)
    for number in range(100):
        lock = os.open(BUILD / f"slot_{number}.lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        _held_locks.append(lock)
        os.environ["OPERATOR_TEST_SLOT"] = str(number)
        for leftover in BUILD.glob(f"sqlite_{number}.sqlite3*"):
            leftover.unlink()
        return str(number)
    raise RuntimeError(f"100 test runs hold the slots in {BUILD}.")
