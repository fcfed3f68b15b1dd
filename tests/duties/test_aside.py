"""What is left to others for a while."""

from __future__ import annotations

import pytest

from operator_app.duties import aside
from operator_app.duties.aside import Aside


def test_it_is_left_alone_for_about_a_minute() -> None:
    left = Aside()
    seconds = {left.put(1) for _ in range(20)}
    assert all(54 <= each <= 66 for each in seconds) and len(seconds) > 1
    assert 1 in left and 2 not in left and len(left) == 1 and list(left) == [1]
    assert 4.5 <= left.put(2, 5.0) <= 5.5 and list(left) == [1, 2]
    left.clear()
    assert 1 not in left and len(left) == 0


def test_it_comes_back_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    left = Aside()
    left.put(1)
    monkeypatch.setattr(aside, "SECONDS", 0.0)
    left.put(2)
    assert 1 in left and 2 not in left and len(left) == 1
    left.put(1)
    assert 1 not in left
