"""Histograms: what is counted comes out again, to within the width of a bucket."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operator_app.histogram import FIRST, LAST, Histogram, bucket_of, upper
from tests.once import once

pytestmark = once

durations = st.floats(min_value=0, max_value=4e6)


def of(*seconds: float) -> Histogram:
    histogram = Histogram()
    for each in seconds:
        histogram.add(each)
    return histogram


@given(durations)
def test_a_duration_lies_in_its_bucket(seconds: float) -> None:
    bucket = bucket_of(seconds)
    assert 0 <= bucket <= LAST
    assert seconds <= upper(bucket) * (1 + 1e-9)
    if bucket:
        assert seconds > upper(bucket - 1) * (1 - 1e-9)


@given(st.lists(durations, min_size=1, max_size=50), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_a_percentile_is_right_to_a_fifth(seconds: list[float], share: float) -> None:
    exact = sorted(seconds)[max(1, math.ceil(share * len(seconds))) - 1]
    found = of(*seconds).percentile(share)
    assert found is not None
    if exact <= FIRST:
        assert found == FIRST
    else:
        assert exact / 1.2 <= found <= exact * 1.2


@given(st.lists(durations), st.lists(durations))
def test_histograms_add_up(one: list[float], other: list[float]) -> None:
    both = of(*one)
    both.merge(of(*other))
    assert both.stored == of(*one, *other).stored
    assert both.count == len(one) + len(other)


@given(st.lists(durations))
def test_what_is_stored_comes_back(seconds: list[float]) -> None:
    histogram = of(*seconds)
    stored = json.loads(json.dumps(histogram.stored))
    assert Histogram(stored).stored == histogram.stored


def test_nothing_has_no_percentile() -> None:
    assert Histogram().percentile(0.95) is None
    assert Histogram().buckets() == []
    assert Histogram({}).count == 0


def test_what_clocks_or_years_make_of_a_duration_is_counted() -> None:
    histogram = of(-5, 1e12)
    assert histogram.count == 2
    assert set(histogram.stored) == {"0", str(LAST)}


def test_buckets_have_no_hole() -> None:
    found = of(0.001, 0.0039).buckets()
    assert [number for _, number in found] == [1, 0, 0, 0, 1]
    assert found[0][0] == 0.001 and found[-1][0] == pytest.approx(0.004)
