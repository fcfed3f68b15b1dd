"""How far something has come that is done to all that match; kept in the session."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from django.http import HttpRequest

from operator_app.models import Changed
from operator_app.models.changed import LEFT, PARTS

SESSION: Final = "operator_runs"
KEPT: Final = 20
"""How many of them a session remembers."""


@dataclass
class Run:
    """How far one has come."""

    action: str
    first: int
    """The lowest id of all, less one."""
    position: int
    """The id up to which it is done."""
    until: int
    """The id with which it ends."""
    when: str | None = None
    parts: dict[str, int] = field(default_factory=dict)
    """What was done, by the parts of `Changed`."""
    forbidden: int = 0
    entry: Any = None
    """The entry of the admin's log."""
    stopped: str = ""
    """Why it has ended early."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to do."""
        return bool(self.stopped) or self.position >= self.until

    @property
    def changed(self) -> Changed:
        """What was done so far."""
        return Changed.of(**self.parts)

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        length = self.until - self.first
        return min((self.position - self.first) / length, 1.0) if length > 0 else 1.0

    def count(self, changed: Changed) -> None:
        """Add what was done in a chunk."""
        for name in (*PARTS, *LEFT):
            if number := getattr(changed, name):
                self.parts[name] = self.parts.get(name, 0) + number


def kept(request: HttpRequest) -> dict[str, Run]:
    """Return those that the session remembers, by their tokens. No queries but for the session."""
    return {name: Run(**each) for name, each in request.session.get(SESSION, {}).items()}


def keep(request: HttpRequest, runs: dict[str, Run]) -> None:
    """Let the session remember these, the latest of them."""
    latest = list(runs.items())[-KEPT:]
    request.session[SESSION] = {name: asdict(each) for name, each in latest}
