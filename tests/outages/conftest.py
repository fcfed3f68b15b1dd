"""Real operators whose way to the database can go wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.databases import Address
from tests.leftovers import end
from tests.outages.proxy import Proxy
from tests.process.support import environment
from tests.processes import OperatorUnderTest

Start = Callable[..., OperatorUnderTest]

HEARTBEAT = {"interval": 0.5, "timeout": 30}
"""Beats often, so that outages are met; is not declared dead by its neighbours in them."""


@pytest.fixture
def operate(
    started: list[OperatorUnderTest],
    start_operator: Start,
    tmp_path: Path,
) -> Iterator[Start]:
    """Start `manage.py operator ARGUMENTS`; keywords become its OPERATOR settings.

    `options` is added to the database's OPTIONS, `port` replaces the server's port.
    """

    def start(
        *arguments: str, options: dict[str, Any] | None = None, port: int | None = None, **more: Any
    ) -> OperatorUnderTest:
        env = environment(**{"HEARTBEAT": HEARTBEAT, "POLL_INTERVAL": 0.2} | more)
        env |= {
            "DJANGO_SETTINGS_MODULE": "tests.outages.settings",
            "OPERATOR_TEST_OPTIONS": json.dumps(options or {}),
            "OPERATOR_TEST_FAULT": str(tmp_path / "fault"),
        }
        if port is not None:
            env |= {f"{name}_PORT": str(port) for name in ("POSTGRES", "MARIADB")}
            if "MYSQL_HOST" in os.environ or "MYSQL_PORT" in os.environ:
                env["MYSQL_PORT"] = str(port)
        operator = start_operator(*arguments, env=env)
        started.append(operator)
        return operator

    yield start
    end(started)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy in front of the database server of this test."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no server")
    address = Address.of(os.environ["OPERATOR_TEST_DATABASE"])
    proxy = Proxy(address.host, address.port)
    yield proxy
    proxy.close()


@pytest.fixture(autouse=True)
def _nothing_left(started: list[OperatorUnderTest]) -> None:
    """Also after tests that start no operator."""
