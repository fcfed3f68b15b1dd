"""Recurrences as rows: what they say, what they refuse, when the next slot is."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError

from operator_app import clock
from operator_app.models import Operation, Recurrence, kinds
from operator_app.testing import run_due
from tests.kinds.models import Ledger, Note, RankUp, Sweep

pytestmark = pytest.mark.django_db

UTC = timezone.utc
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def recurrence(kind: type[Operation] = Note, **changed: Any) -> Recurrence:
    """A saved recurrence: hourly, in UTC."""
    values = {"name": "test", "expression": "@hourly", "time_zone": "UTC", **changed}
    return Recurrence.objects.create(kind=kinds.content_type(kind, "default"), **values)


def problems(**changed: Any) -> dict[str, list[str]]:
    """What `full_clean()` finds wrong."""
    kind = changed.pop("kind", kinds.content_type(Note, "default"))
    values = {"name": "test", "expression": "@hourly", "time_zone": "UTC", **changed}
    try:
        Recurrence(kind=kind, **values).full_clean()
    except ValidationError as error:
        return error.message_dict
    return {}


class TestClean:
    """What is refused."""

    def test_nothing_wrong(self) -> None:
        assert problems() == {}
        assert problems(fields={"text": "x"}, queue="mail", priority=3, jitter=5) == {}

    @pytest.mark.parametrize(
        ("changed", "field", "problem"),
        [
            ({"expression": "61 * * * *"}, "expression", "61 in the field of the minute"),
            ({"time_zone": "Nowhere"}, "time_zone", "There is no time zone 'Nowhere'"),
            ({"queue": " mail "}, "queue", "with no space at its ends"),
            ({"fields": {"colour": "red"}}, "fields", "Note has no field 'colour'"),
            ({"fields": {"should_run_at": None}}, "fields", "is a column of the engine"),
            ({"fields": {"text": "x" * 200}}, "fields", "at most 100 characters"),
            ({"fields": ["text"]}, "fields", "one JSON object"),
            ({"missed": "never"}, "missed", "not a valid choice"),
            ({"overlap": "never"}, "overlap", "not a valid choice"),
            ({"jitter": -1}, "jitter", "greater than or equal to 0"),
            ({"window": -1}, "window", "greater than or equal to 0"),
            ({"start_at": NOON, "end_at": NOON}, "end_at", "The end is not after the start."),
        ],
    )
    def test_one_thing(self, changed: dict[str, Any], field: str, problem: str) -> None:
        found = problems(**changed)
        assert list(found) == [field]
        assert problem in " ".join(found[field])

    def test_a_kind_that_is_none(self, gone_kind: ContentType) -> None:
        user = ContentType.objects.get_for_model(get_user_model())
        assert "is no kind of operations" in problems(kind=user)["kind"][0]
        assert "is no kind of operations" in problems(kind=gone_kind)["kind"][0]

    def test_foreign_keys(self) -> None:
        """The row has to be there, and has to be named."""
        kind = kinds.content_type(RankUp, "default")
        user = get_user_model().objects.create(username="ann")
        assert problems(kind=kind, fields={"user": user.pk}) == {}
        assert problems(kind=kind, fields={"user_id": str(user.pk)}) == {}
        assert "user: " in problems(kind=kind, fields={"user": user.pk + 1})["fields"][0]
        assert problems(kind=kind)["fields"] == ["user: The kind needs a value for it."]

    def test_all_at_once(self) -> None:
        assert set(problems(expression="x", time_zone="y", fields={"z": 1})) == {
            "expression",
            "time_zone",
            "fields",
        }

    def test_nothing_is_written_without_clean(self) -> None:
        """Also where nobody has asked whether it is right."""
        with pytest.raises(ValueError, match="cron expression"):
            recurrence(expression="x")
        with pytest.raises(ValueError, match="no time zone"):
            recurrence(time_zone="x")
        assert not Recurrence.objects.exists()


class TestNextSlot:
    """What `save()` makes of the next slot."""

    def test_a_new_one_begins_with_the_next_slot(self) -> None:
        with clock.at(NOON):
            assert recurrence().next_run_at == NOON + HOUR

    def test_a_disabled_one_has_none(self) -> None:
        assert recurrence(enabled=False).next_run_at is None

    def test_enabling_never_fires_for_the_disabled_past(self) -> None:
        with clock.at(NOON):
            one = recurrence()
            assert Recurrence.objects.disable("a holiday") == 1
        one.refresh_from_db()
        assert (one.enabled, one.disabled_reason, one.next_run_at) == (False, "a holiday", None)
        with clock.at(NOON + 50 * HOUR):
            assert Recurrence.objects.enable() == 1
            assert Recurrence.objects.enable() == 0
        one.refresh_from_db()
        assert (one.enabled, one.disabled_reason) == (True, "")
        assert one.next_run_at == NOON + 51 * HOUR

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({"expression": "30 * * * *"}, NOON + 10.5 * HOUR),
            ({"expression": "0 0 * * *", "time_zone": "Europe/Berlin"}, NOON + 11 * HOUR),
            ({"start_at": NOON + 20 * HOUR}, NOON + 20 * HOUR),
            ({"end_at": NOON + 3 * HOUR}, None),
            # These do not change the rhythm: what was not seen to is still to be seen to.
            ({"jitter": 3.0}, NOON + HOUR),
            ({"fields": {"text": "other"}}, NOON + HOUR),
        ],
    )
    def test_editing(self, changed: dict[str, Any], expected: datetime | None) -> None:
        with clock.at(NOON):
            pk = recurrence().pk
        with clock.at(NOON + 10 * HOUR):
            one = Recurrence.objects.get(pk=pk)
            for name, value in changed.items():
                setattr(one, name, value)
            one.save()
        assert Recurrence.objects.get(pk=pk).next_run_at == expected

    def test_a_stale_copy_undoes_nothing(self) -> None:
        """A form was open for an hour, in which a slot was seen to."""
        with clock.at(NOON):
            pk = recurrence().pk
        stale = Recurrence.objects.get(pk=pk)
        later = NOON + 2 * HOUR
        Recurrence.objects.filter(pk=pk).update(next_run_at=later, last_slot=NOON + HOUR)
        stale.priority = 7
        stale.save()
        one = Recurrence.objects.get(pk=pk)
        assert (one.next_run_at, one.last_slot, one.priority) == (later, NOON + HOUR, 7)

    def test_without_time_zones_the_hour_that_comes_twice_counts_once(self, settings: Any) -> None:
        """Its second pass has no name of its own in the database."""
        settings.USE_TZ = False
        settings.TIME_ZONE = "Europe/Berlin"
        one = Recurrence(name="x", expression="@hourly", time_zone="Europe/Berlin")
        seen = [datetime(2026, 10, 25, 1)]  # noqa: DTZ001
        for _ in range(3):
            following = one.next_after(seen[-1])
            assert following is not None
            seen.append(following)
        assert [moment.hour for moment in seen] == [1, 2, 3, 4]


class TestWords:
    """What people see."""

    def test_words_and_next_times(self) -> None:
        one = recurrence(expression="30 2 * * *", time_zone="Europe/Berlin")
        assert one.words == "At 02:30" and str(one) == "test"
        with clock.at(datetime(2026, 3, 28, tzinfo=UTC)):
            found = [f"{moment:%m-%d %H:%M}" for moment in one.next_times(3)]
        assert found == ["03-28 02:30", "03-29 03:00", "03-30 02:30"]
        one.end_at = datetime(2026, 3, 29, tzinfo=UTC)
        with clock.at(datetime(2026, 3, 28, tzinfo=UTC)):
            assert len(one.next_times(3)) == 1


class TestRunNow:
    """An operation besides those of the slots."""

    def test_by_hand(self) -> None:
        one = recurrence(fields={"text": "by hand"}, queue="q", priority=9, enabled=False)
        operation = one.run_now()
        assert isinstance(operation, Note)
        assert (operation.text, operation.queue, operation.priority) == ("by hand", "q", 9)
        assert [slot.state for slot in one.slots.all()] == ["by hand"]
        (outcome,) = run_due()
        assert outcome and Ledger.objects.get().line == "by hand"

    def test_twice_at_the_same_moment(self) -> None:
        """There is one row for a moment; the second click finds a later one."""
        one = recurrence(kind=Sweep)
        first, second = one.run_now(), one.run_now()
        assert first.pk != second.pk and one.slots.count() == 2

    def test_what_does_not_fit_is_refused(self) -> None:
        one = recurrence(fields={"nothing": 1})
        with pytest.raises(TypeError, match="has no field 'nothing'"):
            one.run_now()
        assert not Operation.objects.exists() and not one.slots.exists()
