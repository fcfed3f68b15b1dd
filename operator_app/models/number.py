"""How many there are, without counting further than anybody reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from operator_app.models.operation import Operation
    from operator_app.models.querysets import OperationQuerySet

CAP: Final = 10_000
"""Up to how many operations are counted; more are said to be more."""


@dataclass(frozen=True)
class Number:
    """How many there are, up to a cap."""

    count: int
    is_more: bool = False

    def __str__(self) -> str:
        return f"{self.count:,}{'+' if self.is_more else ''}"

    @classmethod
    def of(cls, rows: OperationQuerySet[Operation], cap: int = CAP) -> Number:
        """Count these, up to the cap. One query, which reads no more than that."""
        return cls.up_to(rows.order_by()[: cap + 1].count(), cap)

    @classmethod
    def up_to(cls, found: int, cap: int = CAP) -> Number:
        """Return what was counted up to one more than the cap."""
        return cls(min(found, cap), found > cap)

    @classmethod
    def sum(cls, numbers: Iterable[Number]) -> Number:
        """Return how many these are together."""
        numbers = list(numbers)
        total = sum(each.count for each in numbers)
        return cls(min(total, CAP), total > CAP or any(each.is_more for each in numbers))
