"""Real operators whose log is JSON, and which are checked to have left nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.process.support import environment
from tests.processes import OperatorUnderTest

Start = Callable[..., OperatorUnderTest]


@pytest.fixture
def operate(start_operator: Start) -> Start:
    """Start `manage.py operator ARGUMENTS`; keywords become its OPERATOR settings."""

    def start(*arguments: str, env: dict[str, str] | None = None, **settings: Any) -> Any:
        return start_operator(*arguments, env=environment(**settings) | (env or {}))

    return start
