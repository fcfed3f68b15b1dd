"""The settings: `OPERATOR`, read when it is needed."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from operator_app import conf
from tests.once import once

pytestmark = once


def problem(raw: object) -> str:
    (only,) = conf.problems(raw)
    return only


def test_without_a_setting_everything_has_its_default(settings: Any) -> None:
    """A project that sets nothing gets the documented defaults."""
    settings.OPERATOR = {}
    del settings.OPERATOR
    settings_now, defaults = conf.get(), conf.Settings()
    assert settings_now == defaults
    beat = settings_now.HEARTBEAT
    assert (beat.interval, beat.timeout) == (5, 30)
    assert (conf.get().POLL_INTERVAL, conf.get().GRACE, conf.get().THREADS) == (1, 25, 8)


def test_what_is_set_is_completed_by_the_defaults(settings: Any) -> None:
    """Keys that are left out keep their defaults, inside HEARTBEAT too."""
    settings.OPERATOR = {"THREADS": 2, "HEARTBEAT": {"timeout": 60}}
    assert conf.get().THREADS == 2
    beat = conf.get().HEARTBEAT
    assert (beat.interval, beat.timeout) == (5, 60)
    assert conf.get().GRACE == 25


def test_the_setting_is_read_again_when_it_is_overridden(settings: Any) -> None:
    """`override_settings` and pytest-django's fixture take effect at once."""
    settings.OPERATOR = {"GRACE": 1}
    assert conf.get().GRACE == 1
    settings.OPERATOR = {"GRACE": 2}
    assert conf.get().GRACE == 2


def test_settings_are_read_once_until_they_change(settings: Any) -> None:
    """Asking for the settings in a hot path costs a lookup, not a validation."""
    settings.OPERATOR = {"GRACE": 1}
    assert conf.get() is conf.get()
    settings.DEBUG = True
    assert conf.get() is conf.get()


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("THREDS", "THREADS"),
        ("threads", "THREADS"),
        ("HEART_BEAT", "HEARTBEAT"),
        ("POLIC", "POLICY"),
    ],
)
def test_an_unknown_key_is_named_with_what_was_probably_meant(key: str, meant: str) -> None:
    """A misspelt or lower-case key is refused with a "did you mean"."""
    assert problem({key: 4}).startswith(f"OPERATOR has no key {key!r}; did you mean {meant!r}?")


def test_an_unknown_key_unlike_any_other_is_answered_with_all_keys() -> None:
    """Where nothing is near, the message lists what there is."""
    text = problem({"BROKER_URL": "redis://"})
    assert "OPERATOR has no key 'BROKER_URL' (known: " in text
    assert "POLL_INTERVAL" in text and "did you mean" not in text


def test_a_key_that_is_not_a_string_is_refused_not_raised() -> None:
    """Even a key of the wrong type gets a sentence."""
    assert problem({1: 2}).startswith("OPERATOR has no key 1")


@pytest.mark.parametrize("raw", [None, [], "THREADS=4", 4])
def test_operator_must_be_a_dict(raw: object) -> None:
    """Anything but a mapping is refused by its type's name."""
    assert problem(raw) == f"OPERATOR must be a dict, not {type(raw).__name__}."


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        ({"POLICY": []}, "OPERATOR['POLICY'] must be a dict"),
        ({"POLICY": None}, "OPERATOR['POLICY'] must be a dict"),
        ({"HEARTBEAT": 5}, "OPERATOR['HEARTBEAT'] must be a dict"),
        ({"HEARTBEAT": None}, "OPERATOR['HEARTBEAT'] must be a dict"),
        ({"HEARTBEAT": {"intervall": 5}}, "no key 'intervall'; did you mean 'interval'?"),
        ({"HEARTBEAT": {"interval": 0}}, "OPERATOR['HEARTBEAT']['interval'] must be a number"),
        ({"HEARTBEAT": {"interval": -1}}, "OPERATOR['HEARTBEAT']['interval'] must be a number"),
        ({"HEARTBEAT": {"timeout": "30"}}, "OPERATOR['HEARTBEAT']['timeout'] must be a number"),
        ({"HEARTBEAT": {"timeout": True}}, "OPERATOR['HEARTBEAT']['timeout'] must be a number"),
        ({"HEARTBEAT": {"interval": 11}}, "must be at least three times the interval"),
        ({"HEARTBEAT": {"timeout": 14}}, "must be at least three times the interval"),
        ({"POLL_INTERVAL": 0}, "OPERATOR['POLL_INTERVAL'] must be a number"),
        ({"POLL_INTERVAL": None}, "OPERATOR['POLL_INTERVAL'] must be a number"),
        ({"POLL_INTERVAL": float("nan")}, "OPERATOR['POLL_INTERVAL'] must be a number"),
        ({"POLL_INTERVAL": float("inf")}, "OPERATOR['POLL_INTERVAL'] must be a number"),
        ({"GRACE": -1}, "OPERATOR['GRACE'] must be a number"),
        ({"GRACE": "25"}, "OPERATOR['GRACE'] must be a number"),
        ({"LATE": -1}, "OPERATOR['LATE'] must be a number"),
        ({"RETENTION": {"done": 1}}, "OPERATOR['RETENTION'] has no state 'done'"),
        ({"API_TOKEN": "short"}, "OPERATOR['API_TOKEN'] must be a string of at least 20"),
        ({"API_TOKEN": None}, "OPERATOR['API_TOKEN'] must be a string of at least 20"),
        ({"THREADS": 0}, "OPERATOR['THREADS'] must be a whole number"),
        ({"THREADS": 2.5}, "OPERATOR['THREADS'] must be a whole number"),
        ({"THREADS": True}, "OPERATOR['THREADS'] must be a whole number"),
        ({"THREADS": "8"}, "OPERATOR['THREADS'] must be a whole number"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(raw: dict[str, Any], part: str) -> None:
    """Each bad value yields one sentence that names the key and what it should be."""
    assert part in problem(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {"GRACE": 0},
        {"POLL_INTERVAL": 0.05},
        {"HEARTBEAT": {"interval": 1, "timeout": 3}},
        {"HEARTBEAT": {}},
        {"THREADS": 1, "POLICY": {"queue": "x"}},
    ],
)
def test_good_values_pass(raw: dict[str, Any]) -> None:
    """What is at the edge of the allowed is allowed."""
    assert list(conf.problems(raw)) == []


def test_every_problem_is_reported_at_once(settings: Any) -> None:
    """Whoever reads bad settings gets one exception that names all that is wrong with them."""
    settings.OPERATOR = {"THREDS": 1, "GRACE": -1, "THREADS": 0}
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.get()
    for part in ("'THREDS'", "['GRACE']", "['THREADS']"):
        assert part in str(caught.value)


def test_bad_settings_are_not_remembered(settings: Any) -> None:
    """Once they are corrected, they are read."""
    settings.OPERATOR = {"THREADS": 0}
    with pytest.raises(ImproperlyConfigured):
        conf.get()
    settings.OPERATOR = {"THREADS": 3}
    assert conf.get().THREADS == 3


@pytest.mark.parametrize("key", [each.name for each in fields(conf.Settings)])
def test_no_value_is_too_odd_for_a_sentence(key: str) -> None:
    """The check says what is wrong, and raises nothing."""
    for value in ([], {}, set(), [[]], {1: 2}, {"x": []}, None, object(), b"", math.nan, 10**400):
        said = list(conf.problems({key: value}))
        assert all(sentence.startswith("OPERATOR['") for sentence in said), said
        if value is None:
            assert bool(said) is (key != "RETENTION"), key  # Where it is for ever.


def test_a_level_is_named() -> None:
    assert problem({"LOG_LEVEL": []}).endswith("must be the name of a level, not [].")
    assert problem({"LOG_LEVEL": 20}).endswith("must be the name of a level, not 20.")
