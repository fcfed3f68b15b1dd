"""Whether calls arrive."""

from __future__ import annotations

from operator_app.wakeups import Echo


def call(echo: Echo, *, heard: bool) -> None:
    """Call once, as a heartbeat does, and let it be heard or not."""
    channel, text = echo.next_call
    assert channel == echo.channel
    echo.called()
    if heard:
        echo.heard(text)


def test_at_first_nothing_is_known() -> None:
    """Neither is it said that calls arrive, nor that they do not."""
    echo = Echo()
    assert (echo.is_heard, echo.is_lost) == (False, False)
    call(echo, heard=False)
    assert (echo.is_heard, echo.is_lost) == (False, False)


def test_heard_and_lost_and_heard_again() -> None:
    """One that was not heard until the next one is missed; any later one is good news."""
    echo = Echo()
    call(echo, heard=True)
    assert (echo.is_heard, echo.is_lost) == (True, False)
    call(echo, heard=False)
    assert (echo.is_heard, echo.is_lost) == (True, False)
    call(echo, heard=False)
    assert (echo.is_heard, echo.is_lost) == (False, True)
    assert echo.lost_for > 0
    call(echo, heard=True)
    assert (echo.is_heard, echo.is_lost, echo.lost_for) == (True, False, 0)


def test_heard_before_the_caller_knows_of_its_commit() -> None:
    """The answer to a COMMIT may be slower than the call."""
    echo = Echo()
    echo.heard(echo.next_call[1])
    echo.called()
    assert (echo.is_heard, echo.is_lost) == (True, False)


def test_a_session_is_deaf_if_two_calls_were_made_in_vain() -> None:
    """Calls from before the session began do not count."""
    echo = Echo()
    for _ in range(5):
        call(echo, heard=False)
    since = echo.count
    assert not echo.is_deaf(since)
    call(echo, heard=False)
    assert not echo.is_deaf(since)
    call(echo, heard=False)
    assert echo.is_deaf(since)
    call(echo, heard=True)
    assert not echo.is_deaf(since)


def test_each_has_a_channel_of_its_own() -> None:
    """What others call is nothing to it; a name that needs no quotes."""
    channels = {Echo().channel for _ in range(20)}
    assert len(channels) == 20
    assert all(channel.isidentifier() and len(channel) < 64 for channel in channels)
