"""Whether operations are being run: the one question of a probe."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from operator_app.models import kinds
from operator_app.models.pause import Pause
from operator_app.models.process import OperatorProcess
from operator_app.moments import in_words


@dataclass(frozen=True)
class Health:
    """How operators are getting on.

    Args:
        operators: how many live and claim.
        late: for how many seconds the oldest operation has been due that nothing pauses; None if
            none is due.
        problem: what is wrong; empty if nothing is.
    """

    operators: int
    late: float | None
    problem: str

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem

    @property
    def sentence(self) -> str:
        """How they are getting on, for people."""
        if self.problem:
            return self.problem
        live = "1 operator lives" if self.operators == 1 else f"{self.operators} operators live"
        late = "nothing is due" if self.late is None else f"{in_words(self.late)} late at most"
        return f"{live}, {late}."

    def facts(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        return {"healthy": self.is_good, **asdict(self)}


def look(alias: str, now: datetime, limit: float) -> Health:
    """Return how operators are getting on. Three queries, whatever the number of operations.

    Args:
        alias: the database.
        now: its time.
        limit: seconds that an operation may be due before that is a problem.
    """
    rows = OperatorProcess.objects.using(alias).alive(now).filter(draining=False)
    operators = rows.count()
    pauses = list(Pause.objects.using(alias).active(now))
    due = [
        lane.next_at
        for lane in kinds.operations(alias).lanes()
        if lane.next_at <= now and not any(pause.covers_lane(lane) for pause in pauses)
    ]
    late = (now - min(due)).total_seconds() if due else None
    problem = ""
    if not operators:
        problem = "No operator lives."
    elif late is not None and late > limit:
        problem = f"An operation has been due for {in_words(late)}; the limit is {in_words(limit)}."
    return Health(operators, late, problem)
