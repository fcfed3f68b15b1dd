"""What will become of a stuck operation, if nobody does anything."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from operator_app.models import kinds, states

if TYPE_CHECKING:
    from operator_app.models.operation import Operation


def is_deserted(row: Operation) -> bool:
    """Whether a stuck operation is free to be rescued, released or failed: its operator was
    declared lost or is gone, or it was started by hand. The rule of `states.deserted()`. No queries
    if its operator was selected.
    """
    if row.operator_id is None:
        return True
    operator = states.operator_of(row)
    return operator is None or operator.lost_at is not None


def outlook(row: Operation, now: datetime, *, someone_lives: bool) -> str:
    """Return what will become of a stuck operation, as a sentence for people. No queries if its
    operator was selected.

    Args:
        row: a stuck operation.
        now: the database's time.
        someone_lives: whether an operator lives, who could rescue it.
    """
    operator = states.operator_of(row)
    if operator is not None and operator.is_alive(now):
        return "Its operator lives and asks it to end; it stays claimed until its run() has ended."
    if not someone_lives:
        return "No operator lives to rescue it: start one with manage.py operator."
    model = kinds.model_of(row.kind_id, row._alias)
    if model is None:
        return "Only an operator that knows its class can rescue it."
    policy = model.resolved_policy()
    if row.abort_requested_at is not None:
        fate = "cancels it, as it was asked to abort"
    elif row.operator_id is None:
        fate = "lets it fail"
    elif policy.on_stuck == "leave":
        return "Its policy leaves it to you."
    elif policy.on_stuck == "fail":
        fate = "lets it fail, as its policy says"
    elif isinstance(policy.max_crashes, int) and row.crashes + 1 >= policy.max_crashes:
        fate = f"lets it fail: its policy allows for {policy.max_crashes} crashes"
    else:
        fate = "lets it run again, in quarantine"
    return f"Another operator {fate}, within a heartbeat timeout."
