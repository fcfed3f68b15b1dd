"""A pooler between here and PostgreSQL: a real one where it is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.utils import ConnectionHandler

from operator_app.doctor import pooler
from tests.doctor.tools import only
from tests.processes import poll

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="what pools its sessions"),
]

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
"""`OPERATOR_TEST_REQUIRE_PGBOUNCER=1`, as in `.ci/run`, lets the tests fail without it."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(params=["transaction", "session"])
def mode(request: Any) -> str:
    found: str = request.param
    return found


@pytest.fixture
def pooled(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The test database behind PgBouncer."""
    if PGBOUNCER is None:
        if os.environ.get("OPERATOR_TEST_REQUIRE_PGBOUNCER"):
            pytest.fail("There is no pgbouncer.")
        pytest.skip("there is no pgbouncer")
    settings, port = connection.settings_dict, free_port()
    config = tmp_path / "pgbouncer.ini"
    config.write_text(
        f"""
[databases]
* = host={settings["HOST"]} port={settings["PORT"] or 5432} user={settings["USER"]} \
password={settings["PASSWORD"] or "none"}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
ignore_startup_parameters = extra_float_digits,options
"""
    )
    tmp_path.chmod(0o755)
    as_nobody = ["-u", "nobody"] if os.getuid() == 0 else []
    process = subprocess.Popen([PGBOUNCER, "-q", *as_nobody, str(config)])
    database = {**settings, "HOST": "127.0.0.1", "PORT": str(port)}
    handler = ConnectionHandler({"default": database})
    monkeypatch.setattr(pooler, "connections", handler)
    try:
        poll(lambda: process.poll() is not None or _answers(port))
        assert process.poll() is None, "pgbouncer has ended"
        yield
    finally:
        handler.close_all()
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def test_a_direct_connection() -> None:
    assert list(pooler.transaction_pooling("default")) == []


@pytest.mark.usefixtures("pooled")
def test_a_real_one(mode: str, settings: Any) -> None:
    """In transaction mode two connections are lent the same session; in session mode they never
    are, and whether that is so cannot be known.
    """
    finding = only(pooler.transaction_pooling("default"))
    expected = "warning" if mode == "transaction" else "note"
    assert (finding.id, finding.severity) == ("doctor.pooler", expected)
    assert 'OPERATOR["NOTIFY"] to False' in finding.hint
    settings.OPERATOR = settings.OPERATOR | {"NOTIFY": False}
    assert list(pooler.transaction_pooling("default")) == []


class TestWithoutOne:
    """What is concluded from the numbers of the server's processes, without a pooler."""

    @pytest.mark.parametrize(
        ("pids", "severity"), [([7, 7, 7], "warning"), ([7, 7, 8, 7, 7], "warning"), (None, "note")]
    )
    def test_another_number_than_was_told(
        self, monkeypatch: pytest.MonkeyPatch, pids: list[int] | None, severity: str
    ) -> None:
        answers = iter(pids if pids is not None else range(10**9, 10**9 + 20))
        monkeypatch.setattr(pooler, "_pid", lambda connection: next(answers))
        finding = only(pooler.transaction_pooling("default"))
        assert (finding.id, finding.severity) == ("doctor.pooler", severity)

    def test_in_a_transaction(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The session is held, so nothing can be told."""
        from django.db import transaction

        monkeypatch.setattr(pooler, "_pid", lambda connection: 7)
        with transaction.atomic():
            assert list(pooler.transaction_pooling("default")) == []
