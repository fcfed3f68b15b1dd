"""The tests' settings, for operator processes whose way to the database is to go wrong.

OPERATOR_TEST_OPTIONS  JSON, added to OPTIONS of the database
OPERATOR_TEST_FAULT    a file: while it is there, no write succeeds; its text is the error
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from django.db import OperationalError
from django.db.backends.signals import connection_created

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["default"]["OPTIONS"] |= json.loads(os.environ.get("OPERATOR_TEST_OPTIONS") or "{}")

WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|WITH ended)\b")
FAULT = Path(os.environ.get("OPERATOR_TEST_FAULT") or "/nowhere")


def fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    """Refuse a write while the file is there."""
    if WRITES.match(sql) and FAULT.exists():
        context["connection"].errors_occurred = True
        raise OperationalError(FAULT.read_text())
    return execute(sql, params, many, context)


def watch(connection: Any, **kwargs: object) -> None:
    """Let every connection fail that way."""
    if fail not in connection.execute_wrappers:
        connection.execute_wrappers.append(fail)


if "OPERATOR_TEST_FAULT" in os.environ:
    connection_created.connect(watch)
