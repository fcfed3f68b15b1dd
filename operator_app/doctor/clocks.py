"""What is found about the time: this host's, and the database's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from operator_app import clock
from operator_app.doctor.finding import Finding
from operator_app.moments import in_words

APART: Final = 2.0
"""Seconds by which the two may differ."""


def clocks_apart(alias: str) -> Iterator[Finding]:
    """Yield a note if the two differ. One query; none on SQLite, whose time is the host's."""
    measured = clock.measure(alias)
    ahead = measured.offset - measured.host_offset
    if abs(ahead) > APART:
        direction = "ahead of" if ahead > 0 else "behind"
        yield Finding(
            "doctor.clock",
            "note",
            f"The clock of the database {alias!r} is {in_words(abs(ahead))} {direction} that of "
            "this host. Operators do not mind: what is due and who lives is judged by the "
            "database's time alone.",
            "Times in this host's log differ from those in the rows by as much, and so does what "
            "your own code takes from timezone.now(). Let NTP set both clocks.",
        )
