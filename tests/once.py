"""Tests that say the same on every database run on one only: SQLite, which is always there."""

from __future__ import annotations

import pytest
from django.conf import settings

once = pytest.mark.skipif(
    "sqlite" not in settings.DATABASES["default"]["ENGINE"], reason="the same on every database"
)
