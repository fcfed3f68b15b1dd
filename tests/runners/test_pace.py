"""What is expected of the next run, and how many may wait for their turn."""

from __future__ import annotations

import pytest

from operator_app.runners.pace import AHEAD, MOST, SHORT, Pace
from tests.once import once

pytestmark = once

KIND, OTHER = 1, 2


@pytest.fixture
def pace() -> Pace:
    return Pace()


def test_nothing_is_known_of_a_kind_that_never_ran(pace: Pace) -> None:
    """It counts as long, and nothing of it waits."""
    assert not pace.is_short(KIND)
    assert pace.ahead([KIND], threads=8) == 0
    assert pace.ahead([], threads=8) == 0


def test_short_ones_may_wait_for_a_moments_work(pace: Pace) -> None:
    """As many as all threads together run in that time, and never more than the most."""
    pace.learn(KIND, 0.01)
    assert pace.is_short(KIND)
    assert pace.ahead([KIND], threads=1) == AHEAD / 0.01
    assert pace.ahead([KIND], threads=4) == 4 * AHEAD / 0.01
    pace.learn(OTHER, 0.0)
    assert pace.ahead([OTHER], threads=1) == MOST
    assert pace.ahead([KIND, OTHER], threads=1) == AHEAD / 0.01  # the slower one counts


def test_nothing_waits_behind_long_ones(pace: Pace) -> None:
    """From `SHORT` on a kind is long."""
    pace.learn(KIND, 0.0)
    pace.learn(OTHER, SHORT)
    assert pace.ahead([OTHER], threads=8) == 0
    assert pace.ahead([KIND, OTHER], threads=8) == 0


def test_bad_news_counts_more_than_good_news(pace: Pace) -> None:
    """One long run ends the waiting at once; many short ones are needed to begin it again."""
    pace.learn(KIND, 0.0)
    pace.learn(KIND, 2 * SHORT)
    assert not pace.is_short(KIND)
    pace.learn(KIND, 0.0)
    assert pace.is_short(KIND)
    pace.learn(KIND, 10.0)
    for _ in range(30):
        pace.learn(KIND, 0.0)
        assert not pace.is_short(KIND)
