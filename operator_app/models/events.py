"""Something that happened to an operation, and what the time before it is called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from operator_app.moments import in_words


@dataclass(frozen=True)
class Event:
    """Something that happened to an operation, or will.

    Args:
        at: when.
        code: what, for programs: created, due, renewed, paused, claimed, begun, abort_requested,
            timed_out, operator_lost, the name of an outcome, rescued, now.
        sentence: what, for people.
        gap: what the time before it was, for people, as "ran 12 s"; empty if there is no word.
        seconds: how long that was.
        claim: the number of the claim, if it is of one.
        is_ahead: whether it is yet to come.
    """

    at: datetime
    code: str
    sentence: str
    gap: str = ""
    seconds: float | None = None
    claim: int | None = None
    is_ahead: bool = False

    def facts(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        names = ("at", "code", "sentence", "gap", "seconds", "claim", "is_ahead")
        return {name: getattr(self, name) for name in names}

    def after(self, since: datetime, gap: str) -> Event:
        """Return it with the time since `since` by its name; `gap` has a place for how long."""
        seconds = round(max((self.at - since).total_seconds(), 0.0), 3)
        return replace(self, gap=_(gap) % in_words(seconds), seconds=seconds)


class Gap(NamedTuple):
    """How a stretch of time is called, when it is over, and while it lasts."""

    over: str
    lasting: str


FOR_ITS_TIME: Final = {
    "created": Gap(gettext_noop("waited %s for its time"), gettext_noop("waits %s for its time")),
    "retried": Gap(gettext_noop("backed off %s"), gettext_noop("backs off %s")),
    "rescued": Gap(gettext_noop("backed off %s"), gettext_noop("backs off %s")),
    "stopped": Gap(gettext_noop("held back %s"), gettext_noop("holds back %s")),
    "released": Gap(gettext_noop("waited %s"), gettext_noop("waits %s")),
}
WAS_OVER: Final = gettext_noop("was over for %s")
FOR_AN_OPERATOR: Final = Gap(
    gettext_noop("waited %s for an operator"),
    gettext_noop("has been waiting %s for an operator"),
)
IN_ALL: Final = gettext_noop("waited %s in all")
FOR_ITS_TURN: Final = gettext_noop("waited %s for its turn")
RAN: Final = Gap(gettext_noop("ran %s"), gettext_noop("has been running %s"))
HELD: Final = Gap(gettext_noop("was held %s"), gettext_noop("has been held %s"))

ENDINGS: Final = {
    "finished": gettext_noop("Finished"),
    "failed": gettext_noop("Failed for good"),
    "retried": gettext_noop("Failed, to be tried again"),
    "rescued": gettext_noop("Rescued: its operator was lost"),
    "stopped": gettext_noop("Stopped, to go on later"),
    "cancelled": gettext_noop("Cancelled"),
    "aborted": gettext_noop("Aborted"),
    "released": gettext_noop("Given back"),
}
