"""The app of operations that the tests' operator processes run."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Final

from django.apps import AppConfig

EXTRA: Final = ("action", "operation_id", "kind", "attempt", "operator")


class JSONFormatter(logging.Formatter):
    """A record as a line of JSON, as log collectors want it: the message and the `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {"level": record.levelname, "message": record.getMessage()}
        line |= {name: getattr(record, name) for name in EXTRA if hasattr(record, name)}
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        return json.dumps(line)


class WorkConfig(AppConfig):
    """Operations for real processes. With OPERATOR_TEST_LOG=json a process logs all it says."""

    name = "tests.work"
    label = "work"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Set the log up, in a process that a test has started."""
        if os.environ.get("OPERATOR_TEST_LOG") != "json":
            return
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JSONFormatter())
        logger = logging.getLogger("operator_app")
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
