"""Something that was found: what is wrong, where, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["problem", "warning", "note"]
"""A problem wants somebody now, a warning soon; a note explains what is seen, or is not."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found, for people and for programs. The ids are stable."""

    id: str
    severity: Severity
    message: str
    hint: str

    def as_dict(self) -> dict[str, str]:
        """Return what JSON says of it."""
        return asdict(self)
