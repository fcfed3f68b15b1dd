"""A project that does everything wrong that a system check can see without a database."""

from __future__ import annotations

from typing import Any

from tests.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.checks.clashing"]  # noqa: F405

OPERATOR: dict[str, Any] = {"POLICY": {"max_atempts": 3}, "THREDS": 4}
