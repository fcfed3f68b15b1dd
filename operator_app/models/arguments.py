"""What may be said of an operation when it is scheduled: each argument is checked here."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.utils import timezone

from operator_app import clock, conf
from operator_app.models import guards
from operator_app.reports import storable

if TYPE_CHECKING:
    from operator_app.models.operation import Operation

KEY_LIMIT: Final = 255
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 9998


def check_fields(model: type[Operation], fields: dict[str, Any]) -> None:
    """Raise TypeError for a column that the kind does not have or that is the engine's."""
    if model._meta.abstract:
        raise TypeError(f"{model.__name__} is abstract. Schedule a concrete subclass of it.")
    engine = guards.engine_names()
    known = {
        name
        for field in model._meta.get_fields()
        if field.concrete and not _is_link(field)
        for name in (field.name, getattr(field, "attname", field.name))
    }
    for name in fields:
        if name in engine or name == "pk":
            raise TypeError(
                f"{name!r} is a column of the engine and cannot be passed to "
                f"{model.__name__}.schedule(). Its own options are when, queue, priority and "
                "unique_key."
            )
        if name not in known:
            hint = conf.did_you_mean(name, sorted(known - engine))
            raise TypeError(f"{model.__name__} has no field {name!r}{hint}")


def moment(when: object, alias: str) -> datetime:
    """Return `when` as a moment, aware exactly if USE_TZ is on.

    Raises:
        ValueError: for a naive datetime with USE_TZ, or a moment that no datetime can name.
        TypeError: for anything but a datetime or a timedelta.
    """
    if isinstance(when, timedelta):
        try:
            return _in_range(clock.now(alias) + when)
        except OverflowError:
            raise ValueError(f"{when} from now is further than a datetime can name.") from None
    if not isinstance(when, datetime):
        raise TypeError(f"When to run is an aware datetime or a timedelta, not {when!r}.")
    if settings.USE_TZ and timezone.is_naive(when):
        raise ValueError(
            f"{when!r} is naive and USE_TZ is on, so it does not say which moment is meant. "
            "Use django.utils.timezone.make_aware(...) or a timedelta."
        )
    _in_range(when)
    if not settings.USE_TZ and timezone.is_aware(when):
        return timezone.make_naive(when)
    return when


def _in_range(when: datetime) -> datetime:
    """Return `when` if every database can store it and give it back, in any time zone.

    One that cannot be given back would stop whoever reads it, which is every operator.
    """
    if not FIRST_YEAR <= when.year <= LAST_YEAR:
        raise ValueError(
            f"{when!r} is out of range: the years {FIRST_YEAR} to {LAST_YEAR} can be stored."
        )
    return when


def digest(unique_key: object) -> str:
    """Return what stands for a unique key in `active_key`: its SHA-256.

    Databases differ in whether "a" equals "A", "á" or "a "; of a digest there is one spelling.

    Raises:
        ValueError: for a key that is empty, too long or not a string.
    """
    good = isinstance(unique_key, str) and 0 < len(unique_key) <= KEY_LIMIT
    if not isinstance(unique_key, str) or not good or storable(unique_key) != unique_key:
        raise ValueError(
            f"A unique key is a non-empty string of at most {KEY_LIMIT} characters, without NUL "
            f"and lone surrogates, not {unique_key!r}."
        )
    return hashlib.sha256(unique_key.encode()).hexdigest()


def _is_link(field: Any) -> bool:
    remote = getattr(field, "remote_field", None)
    return bool(remote and getattr(remote, "parent_link", False))
