"""Charts: what they show; that they are safe, and have no style or script of their own."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from operator_app.admin import charts
from tests.once import once

pytestmark = once


def picture_of(html: str) -> ElementTree.Element:
    found = re.search(r"<svg.*</svg>", html, re.DOTALL)
    assert found is not None
    return ElementTree.fromstring(found.group())


def titles(html: str) -> list[str | None]:
    svg = "{http://www.w3.org/2000/svg}"
    return [
        title.text
        for group in picture_of(html).iter(f"{svg}g")
        if "operator-tone" in group.get("class", "")
        for title in group.iter(f"{svg}title")
    ]


@pytest.mark.parametrize("make", [charts.columns, charts.lines])
def test_each_number_is_there_as_a_mark_and_in_the_table(make: type) -> None:
    html = make("Ended", ["one", "two"], {"good": [1, 20], "bad": [0.5, None]}, unit="s")
    marks = titles(html)
    for mark in ("one, good: 1 s", "two, good: 20 s", "one, bad: 0.5 s"):
        assert mark in marks
    assert '<th scope="row">two</th><td>20 s</td><td>-</td>' in html
    assert "<figcaption>Ended</figcaption>" in html


def test_a_picture_has_no_style_no_script_and_a_name() -> None:
    html = charts.columns("Ended", ["a"], {"x": [1], "y": [2]}, stacked=True)
    for forbidden in ("<style", "<script", "style=", " id=", "http://pygal"):
        assert forbidden not in html
    root = picture_of(html)
    assert root.get("role") == "img" and root.get("aria-label") == "Ended"


def test_names_cannot_break_out() -> None:
    evil = '"><script>alert(1)</script>'
    html = charts.columns(evil, [evil, "b"], {evil: [1, 2], "y": [3, 4]}, unit=evil)
    assert "<script" not in html
    assert picture_of(html).get("aria-label") == evil


def test_nothing_is_said_to_be_nothing() -> None:
    assert "Nothing yet." in charts.lines("Run time", ["a", "b"], {"x": [None, None]})
    assert "Nothing yet." in charts.columns("Run time", [], {"x": []})
    assert "Nothing yet." in charts.columns("Ended", ["a"], {"x": [0], "y": [None]})


def test_numbers_that_do_not_fit_the_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="'x' has 1 numbers for 2 labels"):
        charts.lines("Run time", ["a", "b"], {"x": [1]})


def test_one_series_needs_no_legend_and_many_labels_do_not_overlap() -> None:
    labels = [f"label {number}" for number in range(60)]
    html = charts.columns("Ended", labels, {"x": list(range(60))})
    assert "operator-legend" not in html
    svg = "{http://www.w3.org/2000/svg}"
    below = [text.text for text in picture_of(html).iter(f"{svg}text") if text.text in labels]
    assert 2 <= len(below) <= charts.LABELS


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (1, "1"),
        (0.5, "0.5"),
        (0.001234, "0.00123"),
        (12.345, "12.3"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (-3.25, "-3.25"),
    ],
)
def test_numbers_have_three_digits_that_count(value: float | None, shown: str) -> None:
    assert charts.number(value) == shown


def test_stacked_columns_fit_under_the_top() -> None:
    html = charts.columns("Ended", ["a"], {"x": [60], "y": [60]}, stacked=True)
    svg = "{http://www.w3.org/2000/svg}"
    rects = [r for r in picture_of(html).iter(f"{svg}rect") if "rect" in r.get("class", "").split()]
    assert len(rects) == 2
    assert all(0 <= float(rect.get("y", "-1")) <= charts.HEIGHT for rect in rects)


@pytest.mark.parametrize(
    ("values", "stacked", "ticks"),
    [
        ([1], False, [0, 1]),
        ([3, 2], False, [0, 1, 2, 3]),
        ([87, 40], False, [0, 50, 100]),
        ([40], False, [0, 10, 20, 30, 40]),
        ([0.3, 0.72], False, [0, 0.2, 0.4, 0.6, 0.8]),
        ([0.0004], False, [0, 0.0001, 0.0002, 0.0003, 0.0004]),
    ],
)
def test_the_axis_has_round_numbers(values: list[float], stacked: bool, ticks: list[float]) -> None:
    html = charts.columns("x", [str(each) for each in values], {"x": values}, stacked=stacked)
    svg = "{http://www.w3.org/2000/svg}"
    (axis,) = [
        group
        for group in picture_of(html).iter(f"{svg}g")
        if {"axis", "y"} <= set(group.get("class", "").split())
    ]
    assert [each.text for each in axis.iter(f"{svg}text")] == [charts.number(t) for t in ticks]
