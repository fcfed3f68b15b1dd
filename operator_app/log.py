"""Log lines: one per transition, through the logger `operator_app`, with structured `extra`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import connections

if TYPE_CHECKING:
    from operator_app.models import OperationJob

logger = logging.getLogger("operator_app")

_LEVELS = {
    "claimed": logging.DEBUG,
    "retried": logging.WARNING,
    "failed": logging.ERROR,
    "lost": logging.WARNING,
}


def transition(action: str, job: OperationJob, *, error: BaseException | None = None) -> None:
    """Log that an operation went from one state to another. No queries.

    Args:
        action: what happened, in the past tense: "claimed", "finished", "stopped" ...
        job: the attempt; its operation's id, kind and number go into `extra`.
        error: the exception behind it, passed on as `exc_info` so that error trackers see it.
    """
    # An error is one for every attempt, so that error trackers count them all.
    level = logging.ERROR if error is not None else _LEVELS.get(action, logging.INFO)
    if not logger.isEnabledFor(level):
        return
    outcome = job.ending
    reason = f": {outcome.reason}" if outcome is not None and outcome.reason else ""
    logger.log(
        level,
        "%s %s%s",
        job,
        action,
        reason,
        exc_info=error,
        extra=facts(action, job),
    )


def once_committed(alias: str, level: int, message: str, *arguments: object, **facts: str) -> None:
    """Log a line after the commit, if there is one, with these facts as `extra`. No queries."""

    def say() -> None:
        logger.log(level, message, *arguments, extra=facts)

    connections[alias].on_commit(say, robust=True)


def facts(action: str, job: OperationJob) -> dict[str, Any]:
    """Return what a structured log line says of an attempt."""
    return {
        "action": action,
        "operation_id": job.operation_id,
        "kind": job.display_name,
        "attempt": job.number,
    }


def to_terminal(level: int) -> None:
    """Show the operator's log lines on standard error, unless the project's LOGGING handles them.

    Args:
        level: the least level that is shown.
    """
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
