"""How run times are spread, in bars and in small."""

from __future__ import annotations

from operator_app.admin.durations import Bar, bars, percentile, picture
from operator_app.histogram import Histogram
from tests.once import once

pytestmark = once


def of(*seconds: float) -> Histogram:
    found = Histogram()
    for each in seconds:
        found.add(each)
    return found


def test_nothing() -> None:
    assert bars(of()) == [] and picture(of()) == "-" and percentile(of(), 0.5) == ""


def test_bars_are_round_and_leave_no_gap() -> None:
    found = bars(of(0.2, 0.2, 25.0))
    assert found == [
        Bar("≤ 0.3 s", 2),
        Bar("≤ 1 s", 0),
        Bar("≤ 3 s", 0),
        Bar("≤ 10 s", 0),
        Bar("≤ 30 s", 1),
    ]


def test_every_duration_has_a_bar() -> None:
    times = [0.0, 0.0005, 0.05, 5.0, 100.0, 3_000.0, 9_000.0, 1e9]
    found = bars(of(*times))
    assert sum(bar.number for bar in found) == len(times)
    assert found[0].label == "≤ 0.001 s" and found[-1] == Bar("longer", 1)


def test_the_picture() -> None:
    drawn = picture(of(*[0.2] * 1000, 25.0))
    assert drawn.count("<rect ") == 5 and "<title>≤ 0.3 s: 1000</title>" in drawn
    # What is there once can be seen beside a thousand; what is not there cannot.
    assert 'y="17" width="5" height="1"><title>≤ 30 s: 1<' in drawn
    assert 'height="0"><title>≤ 1 s: 0<' in drawn
