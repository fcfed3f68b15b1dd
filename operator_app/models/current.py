"""Which job is running here: a context variable, right under threads and tasks alike."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob

current_job: ContextVar[OperationJob | None] = ContextVar("operator_app_current_job", default=None)
