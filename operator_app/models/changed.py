"""What a queryset verb has done: a number that knows its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing_extensions import Self

PARTS: Final = (
    "cancelled",
    "deleted",
    "abort_requested",
    "stack_requested",
    "retried",
    "rescheduled",
    "released",
    "failed",
    "aborted",
)
LEFT: Final = ("key_taken", "left")


class Changed(int):
    """How many operations a verb has changed; the number itself is the sum of those it changed.

    >>> changed = Changed.of(cancelled=2, left=1)
    >>> changed, changed == 2, changed.cancelled, changed.left, changed.retried
    (Changed(cancelled=2, left=1), True, 2, 1, 0)
    """

    cancelled: int = 0
    """Will never run; kept until they are pruned."""
    deleted: int = 0
    """Deleted for good, with the rows of their own tables."""
    abort_requested: int = 0
    """Claimed, and asked to end; whether and how they do, their outcome tells."""
    stack_requested: int = 0
    """Claimed, and asked where they are."""
    retried: int = 0
    """Failed or cancelled before, and due now."""
    rescheduled: int = 0
    """Pending, and due at another time."""
    released: int = 0
    """Were held by a lost operator, and are pending."""
    failed: int = 0
    """Were held by a lost operator, and have failed."""
    aborted: int = 0
    """Were held by a lost operator, and had been asked to abort: cancelled."""
    key_taken: int = 0
    """Not retried, since another active operation has their unique key."""
    left: int = 0
    """Selected, but not in a state that the verb changes, or not any more."""

    @classmethod
    def of(cls, **parts: int) -> Self:
        """Return the number of these parts; TypeError for a part that there is not."""
        if unknown := parts.keys() - {*PARTS, *LEFT}:
            raise TypeError(f"Changed has no part {', '.join(sorted(unknown))}.")
        number = cls(sum(count for name, count in parts.items() if name in PARTS))
        vars(number).update({name: count for name, count in parts.items() if count})
        return number

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"Changed({parts})"

    def __str__(self) -> str:
        return int.__repr__(self)
