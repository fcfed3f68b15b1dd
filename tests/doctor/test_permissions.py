"""What the user may do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.utils import ConnectionHandler

from operator_app.doctor import permissions
from tests.doctor.tools import only
from tests.once import once

pytestmark = pytest.mark.django_db


@pytest.fixture
def _reader() -> Iterator[None]:
    """A user who may read, and not delete."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE operator_app_reader")
        cursor.execute(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public "
            "TO operator_app_reader"
        )
        cursor.execute("REVOKE DELETE ON operator_app_operationjob FROM operator_app_reader")
        cursor.execute("SET LOCAL ROLE operator_app_reader")
        yield
        cursor.execute("RESET ROLE")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="its privileges")
class TestPostgreSQL:
    """Privileges of tables."""

    def test_the_owner(self) -> None:
        assert list(permissions.privileges("default")) == []

    @pytest.mark.usefixtures("_reader")
    def test_somebody_else(self) -> None:
        finding = only(permissions.privileges("default"))
        assert (finding.id, finding.severity) == ("doctor.permission", "problem")
        assert "lacks DELETE on operator_app_operationjob." in finding.message
        assert 'TO "operator_app_reader"' in finding.hint


@once
class TestSqlite:
    """The file and its directory."""

    def test_in_memory(self) -> None:
        assert list(permissions.file_access("default")) == []

    def test_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As root everything may be written, so what is asked is replaced."""
        file = tmp_path / "some.sqlite3"
        engine = "django.db.backends.sqlite3"
        handler = ConnectionHandler({"default": {"ENGINE": engine, "NAME": file}})
        monkeypatch.setattr(permissions, "connections", handler)
        file.touch()
        assert list(permissions.file_access("default")) == []
        real: Any = permissions.os.access
        monkeypatch.setattr(
            permissions.os, "access", lambda path, mode: path != tmp_path and real(path, mode)
        )
        finding = only(permissions.file_access("default"))
        assert finding.id == "doctor.permission"
        assert f"may not write {tmp_path}:" in finding.message
