"""What a policy says, in words. No queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.utils.translation import gettext, ngettext

from operator_app import conf
from operator_app.admin import display
from operator_app.backoff import Backoff, as_backoff
from operator_app.models import Operation, kinds
from operator_app.moments import in_words
from operator_app.retention import STATES, seconds_of


class Clause(NamedTuple):
    """One thing that a policy says."""

    title: str
    words: str


def in_short(model: type[Operation]) -> str:
    """Return what matters most of a kind's policy: "mail, 3 attempts, 30 s at most"."""
    policy: Any = model.resolved_policy()
    parts = [policy.queue, _attempts(policy.max_attempts)]
    if policy.timeout is not None:
        parts.append(gettext("%s at most") % in_words(policy.timeout))
    return ", ".join(parts)


def clauses(model: type[Operation]) -> list[Clause]:
    """Return all that a kind's policy says, the defaults too; one for each thing."""
    policy: Any = model.resolved_policy()
    found = [
        (gettext("Queue"), policy.queue),
        (gettext("Priority"), str(policy.priority)),
        (gettext("Runs on"), kinds.runner_of(model)),
        (gettext("Attempts"), _attempts(policy.max_attempts)),
        (gettext("Between attempts"), _backoff(policy)),
        (gettext("Worth another attempt"), _errors(policy)),
        (gettext("Timeout"), _seconds(policy.timeout)),
        (gettext("If its operator dies"), _stuck(policy)),
        (gettext("If it stops"), _stops(policy)),
        (gettext("Expires"), _expiry(policy)),
        (gettext("Atomic"), _atomic(policy)),
        (gettext("Unique"), gettext("yes, by a key") if policy.unique else gettext("no")),
        (gettext("Circuit breaker"), _breaker(policy)),
        (gettext("Deleted"), _retention(policy)),
        (gettext("Attempts kept"), _kept(policy)),
    ]
    return [Clause(*each) for each in found]


def _attempts(number: int) -> str:
    return ngettext("%(n)d attempt", "%(n)d attempts", number) % {"n": number}


def _seconds(seconds: float | None) -> str:
    return gettext("none") if seconds is None else in_words(seconds)


def _names(errors: Iterable[type[BaseException]]) -> str:
    return ", ".join(error.__name__ for error in errors)


def _backoff(policy: Any) -> str:
    if policy.max_attempts == 1:
        return gettext("there is one only")
    backoff = as_backoff(policy.backoff)
    if not isinstance(backoff, Backoff):
        name = getattr(backoff, "__qualname__", type(backoff).__name__)
        return gettext("as %s() says") % name
    if backoff.steps:
        return ", ".join(map(in_words, backoff.steps))
    if backoff.factor == 1:
        return in_words(min(backoff.first, backoff.cap))
    facts = {
        "first": in_words(min(backoff.first, backoff.cap)),
        "factor": f"{backoff.factor:g}",
        "cap": in_words(backoff.cap),
    }
    text = gettext("%(first)s, then %(factor)s times as long each time, up to %(cap)s")
    return text % facts


def _errors(policy: Any) -> str:
    every = BaseException in policy.retry_on or Exception in policy.retry_on
    wanted = gettext("any error") if every else _names(policy.retry_on)
    if not policy.give_up_on:
        return wanted
    facts = {"wanted": wanted, "others": _names(policy.give_up_on)}
    return gettext("%(wanted)s, but for %(others)s") % facts


def _stuck(policy: Any) -> str:
    if policy.on_stuck == "fail":
        return gettext("it has failed")
    if policy.on_stuck == "leave":
        return gettext("it is left as it is, for a person to decide")
    text = ngettext(
        "it runs again; after %(n)d crash it has failed",
        "it runs again; after %(n)d crashes it has failed",
        policy.max_crashes,
    )
    return text % {"n": policy.max_crashes}


def _stops(policy: Any) -> str:
    again = gettext("it is tried again after %s") % in_words(policy.stop_delay)
    if policy.max_stops is None:
        return again
    text = ngettext("%(n)d time at most", "%(n)d times at most", policy.max_stops)
    return f"{again}, {text % {'n': policy.max_stops}}"


def _expiry(policy: Any) -> str:
    if policy.expires_after is None:
        return gettext("never")
    return gettext("cancelled unless it begins within %s") % in_words(policy.expires_after)


def _atomic(policy: Any) -> str:
    if policy.atomic:
        return gettext("yes: what it writes and its success are one transaction")
    return gettext("no")


def _breaker(policy: Any) -> str:
    breaker = policy.circuit_breaker
    if not breaker:
        return gettext("none")
    facts = {
        "failures": breaker.failures,
        "within": in_words(breaker.within),
        "errors": _names(breaker.on),
        "cooldown": in_words(breaker.cooldown),
    }
    text = gettext(
        "opens after %(failures)d failures within %(within)s (%(errors)s); one is tried after "
        "%(cooldown)s"
    )
    return text % facts


def _retention(policy: Any) -> str:
    seconds = seconds_of({**conf.get().RETENTION, **policy.retention})
    parts = [
        gettext("%(state)s after %(age)s")
        % {"state": display.STATES[state], "age": in_words(seconds[state])}
        for state in STATES
        if state in seconds
    ]
    return ", ".join(parts) or gettext("never")


def _kept(policy: Any) -> str:
    return gettext("all") if policy.keep_jobs == "all" else gettext("those that did not finish")
