"""What operators have added up in the last weeks, busier by day than by night."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Final

from operator_app.models import kinds
from operator_app.models.tallies import LEVELS, Key, Summary
from operator_app.models.tally import Tally
from tests.browser.kinds import KINDS, Kind

OLDEST: Final = 14 * 86_400
"""Seconds of which hours are told."""
AN_HOUR: Final = 25.0
"""How many attempts of a kind end in an hour, more or less."""


def make(now: datetime) -> None:
    """Store the tallies of every kind, in spans as long as they are at that age."""
    random = Random(11)
    rows = [
        _tally(random, kind, start, seconds) for kind in KINDS for start, seconds in _spans(now)
    ]
    Tally.objects.bulk_create([row for row in rows if row is not None], batch_size=500)


def _spans(now: datetime) -> Iterator[tuple[datetime, int]]:
    epoch = datetime(1970, 1, 1, tzinfo=now.tzinfo)
    youngest = 0
    for seconds, age in LEVELS:
        oldest = min(age, OLDEST)
        for ago in range(oldest, youngest, -seconds):
            moment = now - timedelta(seconds=ago)
            yield moment - (moment - epoch) % timedelta(seconds=seconds), seconds
        youngest = oldest


def _tally(random: Random, kind: Kind, start: datetime, seconds: int) -> Tally | None:
    by_day = 1 + 0.8 * math.sin((start.hour - 8) * math.pi / 12)
    count = int(random.expovariate(3600 / (AN_HOUR * by_day * seconds)) + random.random())
    if not count:
        return None
    summary = Summary()
    for _ in range(count):
        chance = random.random()
        summary.finished += chance < 0.86
        summary.retried += 0.86 <= chance < 0.94
        summary.failed += 0.94 <= chance < 0.97
        summary.cancelled += chance >= 0.97
        summary.durations.add(kind.took * random.lognormvariate(0, 0.4))
        summary.delays.add(random.lognormvariate(-2, 1.5))
    policy = kind.model.resolved_policy()
    kind_id = kinds.content_type(kind.model, "default").pk
    return summary.row(Key(kind_id, str(policy.queue)), start, seconds)
