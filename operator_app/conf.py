"""The settings: one dict, `OPERATOR`, read when it is needed."""

from __future__ import annotations

import difflib
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from operator_app import retention

SETTING = "OPERATOR"
SHORTEST_TOKEN = 20
"""Characters of a token at least."""


@dataclass(frozen=True)
class Heartbeat:
    """How often an operator shows that it lives, and when it counts as dead. In seconds."""

    interval: float = 5.0
    timeout: float = 30.0


@dataclass(frozen=True)
class Settings:
    """Every key that `OPERATOR` may have, with its default. Times are in seconds."""

    POLICY: Mapping[str, Any] = field(default_factory=dict)
    """Project-wide defaults of `Policy`, by the names of its fields."""

    HEARTBEAT: Heartbeat = field(default_factory=Heartbeat)
    """`interval` between two signs of life, `timeout` without one before an operator is dead."""

    POLL_INTERVAL: float = 1.0
    """The longest an idle operator goes without a look at the database; 5 seconds, unless this is
    longer, while it is told of what is due (`wakeups.Calls.interval`)."""

    GRACE: float = 25.0
    """How long running operations may go on after the first SIGTERM."""

    THREADS: int = 8
    """How many operations one operator runs at once."""

    TASKS: int = 20
    """How many async operations one operator runs at once."""

    CHILDREN: int = field(default_factory=lambda: os.cpu_count() or 1)
    """How many child processes one operator has for operations with `runner="processes"`."""

    CHILD_OPERATIONS: int = 1000
    """How many operations a child process runs before a new one takes its place."""

    NOTIFY: bool = True
    """Whether operators LISTEN to PostgreSQL for what is due and for what people ask of what runs,
    and are told of it."""

    LOG_LEVEL: str = "INFO"
    """From which level on the log records of a `run()` are kept with its job."""

    ON_FAILURE: Sequence[str] = ()
    """Dotted paths of functions to call when an operation has failed for good."""

    LATE: float = 300.0
    """After how many seconds an operation that is due makes `/health` and `operator --check` say
    that something is wrong."""

    API_TOKEN: str = ""
    """What a program sends as `Authorization: Bearer ...` to the pages of `operator_app.urls`.
    Without one only members of the staff are let in."""

    RETENTION: Mapping[str, Any] = field(default_factory=lambda: retention.complete({}))
    """After how long ended operations are deleted: seconds or a timedelta by state, "finished",
    "failed" or "cancelled"; as "attempts", the old attempts of operations that have not ended; and
    as "slots", those of recurrences of which no operation is left. What is not named has its
    default; None is for ever, and in place of the dict for all of them."""

    SLACK_URL: str = ""
    """Where `operator_app.failures.post_to_slack` posts to: an incoming webhook."""


def get() -> Settings:
    """Return the settings of the project, complete with defaults.

    Read once and kept until `setting_changed` is sent, so `override_settings` works. No queries.

    Raises:
        ImproperlyConfigured: with every problem that `problems()` finds.
    """
    return _load()


def problems(raw: object) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong with `raw`, the value of `OPERATOR`.

    The content of POLICY is judged where policies are known, in `operator_app.policy`.
    """
    if not isinstance(raw, Mapping):
        yield f"{SETTING} must be a dict, not {type(raw).__name__}."
        return
    known = [item.name for item in fields(Settings)]
    for key in raw:
        if key not in known:
            yield f"{SETTING} has no key {key!r}{did_you_mean(key, known)}"
    if not isinstance(raw.get("POLICY", {}), Mapping):
        yield f"{SETTING}['POLICY'] must be a dict of Policy fields."
    yield from _heartbeat_problems(raw.get("HEARTBEAT", {}))
    for key in ("POLL_INTERVAL", "GRACE", "LATE"):
        if key in raw and not _is_seconds(raw[key], above_zero=key == "POLL_INTERVAL"):
            yield f"{SETTING}[{key!r}] must be a number of seconds, not {raw[key]!r}."
    level = raw.get("LOG_LEVEL", "INFO")
    if not isinstance(level, str) or not isinstance(logging.getLevelName(level), int):
        yield f"{SETTING}['LOG_LEVEL'] must be the name of a level, not {level!r}."
    handlers = raw.get("ON_FAILURE", ())
    if not isinstance(handlers, Sequence) or not _are_paths(handlers):
        yield f"{SETTING}['ON_FAILURE'] must be a list of dotted paths, not {handlers!r}."
    url = raw.get("SLACK_URL", "")
    if url != "" and not (isinstance(url, str) and url.startswith(("https://", "http://"))):
        # Not shown: who knows it can post there.
        yield f"{SETTING}['SLACK_URL'] must be a URL that begins with https:// or http://."
    if (kept := raw.get("RETENTION")) is not None:
        yield from retention.problems(f"{SETTING}['RETENTION']", kept)
    token = raw.get("API_TOKEN", "")
    if token != "" and not (isinstance(token, str) and len(token) >= SHORTEST_TOKEN):
        # Not shown: who knows it can read all operations.
        yield (
            f"{SETTING}['API_TOKEN'] must be a string of at least {SHORTEST_TOKEN} characters that "
            "nobody can guess."
        )
    yield from _switch_and_count_problems(raw)


def _switch_and_count_problems(raw: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(raw.get("NOTIFY", True), bool):
        yield f"{SETTING}['NOTIFY'] must be True or False, not {raw['NOTIFY']!r}."
    for key in ("THREADS", "TASKS", "CHILDREN", "CHILD_OPERATIONS"):
        count = raw.get(key, 1)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            yield f"{SETTING}[{key!r}] must be a whole number of at least 1, not {count!r}."


def did_you_mean(word: object, known: list[str]) -> str:
    """Return the end of a sentence: "; did you mean 'x'?" or, with none near, what there is."""
    near = difflib.get_close_matches(str(word).upper(), [name.upper() for name in known], 1, 0.6)
    for name in known:
        if near and name.upper() == near[0]:
            return f"; did you mean {name!r}?"
    return f" (known: {', '.join(known)})."


def _heartbeat_problems(raw: object) -> Iterator[str]:
    if not isinstance(raw, Mapping):
        yield f"{SETTING}['HEARTBEAT'] must be a dict with 'interval' and 'timeout' in seconds."
        return
    known = [item.name for item in fields(Heartbeat)]
    for key, value in raw.items():
        if key not in known:
            yield f"{SETTING}['HEARTBEAT'] has no key {key!r}{did_you_mean(key, known)}"
        elif not _is_seconds(value, above_zero=True):
            yield f"{SETTING}['HEARTBEAT'][{key!r}] must be a number of seconds, not {value!r}."
            return
    beat = Heartbeat(**{key: value for key, value in raw.items() if key in known})
    if beat.timeout < 3 * beat.interval:
        yield (
            f"{SETTING}['HEARTBEAT']: timeout ({beat.timeout} s) must be at least three times the "
            f"interval ({beat.interval} s), or one late beat makes a healthy operator look dead."
        )


def _are_paths(value: Sequence[object]) -> bool:
    return not isinstance(value, str) and all(isinstance(path, str) for path in value)


def _is_seconds(value: object, *, above_zero: bool) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return 0 < value < math.inf if above_zero else value >= 0


@lru_cache(maxsize=1)
def _load() -> Settings:
    raw = getattr(django_settings, SETTING, {})
    if wrong := list(problems(raw)):
        raise ImproperlyConfigured(" ".join(wrong))
    values = dict(raw)
    if "HEARTBEAT" in values:
        values["HEARTBEAT"] = Heartbeat(**values["HEARTBEAT"])
    if "RETENTION" in values:
        values["RETENTION"] = retention.complete(values["RETENTION"])
    return Settings(**values)


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == SETTING:
        _load.cache_clear()
