"""What is found about operations that do not get on: stuck ones, and those without a class."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db import DEFAULT_DB_ALIAS

from operator_app.checks.pending import check_pending
from operator_app.doctor.finding import Finding
from operator_app.models import Operation
from operator_app.moments import in_words


def stuck_operations(alias: str, now: datetime) -> Iterator[Finding]:
    """Yield a problem if operations are stuck. One query if there are none, two more if there are;
    of the index that holds started operations only.
    """
    stuck = Operation.all_objects.using(alias).stuck(now)
    number = stuck.count()
    # None, where the last one was rescued in this moment.
    oldest = stuck.select_related("operator").order_by("started_run_at", "pk").first()
    if oldest is None or oldest.started_run_at is None:
        return
    ago = in_words((now - oldest.started_run_at).total_seconds())
    are = "operations are" if number > 1 else "operation is"
    which = f"the oldest, {oldest}," if number > 1 else str(oldest)
    yield Finding(
        "doctor.stuck",
        "problem",
        f"{number:,} {are} stuck: {which} was claimed {ago} ago; {oldest.stuck_reason}.",
        f"`{_command(oldest)}` shows its attempts; with --stack, where it is if its operator "
        "lives. What a lost operator held is run again as soon as an operator lives, but for kinds "
        'with on_stuck="leave", which wait for release().',
    )


def unknown_kinds(alias: str) -> Iterator[Finding]:
    """Yield a warning for each kind of pending operations that is not installed here: what the
    system check W008 says, at its cost.
    """
    for message in check_pending(None, databases=[alias]):
        yield Finding("doctor.unknown_kind", "warning", message.msg, message.hint or "")


def _command(operation: Operation) -> str:
    alias = operation._alias
    where = "" if alias == DEFAULT_DB_ALIAS else f"--database {alias} "
    return f"manage.py operations {where}show {operation.pk}"
