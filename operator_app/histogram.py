"""How long things took: durations counted in buckets, so that millions fit into a few numbers.

Each bucket is wider than the one before it by the square root of two, so that a percentile is right
to about a fifth, from a millisecond to a month. Histograms of any spans of time can be added up,
which percentiles cannot.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

FIRST: Final = 0.001
"""Seconds up to which durations are in the first bucket."""
LAST: Final = 64
"""The number of the last bucket, in which all from fifty days on are."""


class Histogram:
    """How many durations there were in each bucket.

    Args:
        counts: by the number of the bucket, as `stored` has them.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts = {int(bucket): number for bucket, number in (counts or {}).items()}

    def add(self, seconds: float) -> None:
        """Count a duration; one below zero, which clocks of two machines can make, as zero."""
        bucket = bucket_of(seconds)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1

    def merge(self, other: Histogram) -> None:
        """Count all that another one has counted."""
        for bucket, number in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + number

    def merge_stored(self, stored: Mapping[str, int]) -> None:
        """Count all that one has counted of which this is `stored`."""
        counts = self._counts
        for bucket, number in stored.items():
            place = int(bucket)
            counts[place] = counts.get(place, 0) + number

    @property
    def count(self) -> int:
        """How many durations there were."""
        return sum(self._counts.values())

    @property
    def stored(self) -> dict[str, int]:
        """All of it, for JSON."""
        return {str(bucket): number for bucket, number in sorted(self._counts.items())}

    def percentile(self, share: float) -> float | None:
        """Return the duration, in seconds, that this share of all was not above; None if there were
        none. By nearest rank (Hyndman and Fan, 1996, definition 1), and the geometric middle of the
        bucket: right to 19 %.

        Args:
            share: 0.95 for the 95th percentile.
        """
        rank = max(1, math.ceil(share * self.count))
        seen = 0
        for bucket, number in sorted(self._counts.items()):
            seen += number
            if seen >= rank:
                return upper(bucket) / 2**0.25 if bucket else upper(bucket)
        return None

    def buckets(self) -> list[tuple[float, int]]:
        """Return (its upper bound in seconds, how many), from the first bucket that holds some to
        the last, with the empty ones between.
        """
        if not self._counts:
            return []
        held = range(min(self._counts), max(self._counts) + 1)
        return [(upper(bucket), self._counts.get(bucket, 0)) for bucket in held]


def upper(bucket: int) -> float:
    """Return the upper bound of a bucket, in seconds."""
    return float(FIRST * 2 ** (bucket / 2))


_BOUNDS: Final = [upper(bucket) for bucket in range(LAST)]


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket for a duration."""
    return bisect_left(_BOUNDS, seconds)
