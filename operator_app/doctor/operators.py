"""What is found about the operators: those that were lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from operator_app.doctor.finding import Finding
from operator_app.models import OperatorProcess
from operator_app.models.process import KEPT_LOST
from operator_app.moments import in_words


def lost_operators(alias: str, now: datetime) -> Iterator[Finding]:
    """Yield a note for each operator that died without a word and is not forgotten. One query."""
    for process in OperatorProcess.objects.using(alias).lost(now).order_by("heartbeat_at"):
        silent = in_words((now - process.heartbeat_at).total_seconds())
        yield Finding(
            "doctor.lost_operator",
            "note",
            f"Operator {process} was lost: its last heartbeat was {silent} ago.",
            f"Look into the logs of {process.hostname} for why it died (out of memory, power, "
            "kill -9). Living operators rescue what it held; its row is kept for "
            f"{in_words(KEPT_LOST)} after that, and is no trouble.",
        )
