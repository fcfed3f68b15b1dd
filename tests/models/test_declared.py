"""Recurrences that the code declares: what `migrate` and operators make of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from django.core.management import call_command

from operator_app import Recurring, clock
from operator_app.checks.recurrences import problems_of
from operator_app.models import Operation, Recurrence, RecurrenceSlot
from operator_app.models.declared import declarations, insert_missing, synchronize
from operator_app.models.slots import make_due
from tests.kinds.models import LongNote, Note, QuickNote, Report, Reported, Sweep

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _at_noon() -> Iterator[None]:
    with clock.at(NOON):
        yield


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a kind recurrences."""

    def give(kind: type[Operation], *recurrences: Recurring) -> None:
        monkeypatch.setattr(kind, "recurrences", list(recurrences), raising=False)

    return give


def found_wrong(kind: type[Operation]) -> list[tuple[Any, str]]:
    """What the check says of a kind."""
    return [(each.id, each.msg) for each in problems_of(kind)]


def the_only() -> Recurrence:
    return Recurrence.objects.get()


def test_a_new_one_is_inserted(declare: Any) -> None:
    declare(Note, Recurring("0 3 * * *", time_zone="Europe/Berlin", fields={"text": "x"}, jitter=5))
    synchronize("default")
    one = the_only()
    assert (one.name, one.expression, one.time_zone) == ("kinds.Note", "0 3 * * *", "Europe/Berlin")
    assert (one.fields, one.jitter, one.missed, one.overlap) == ({"text": "x"}, 5, "once", "allow")
    assert one.from_code and one.enabled and one.model is Note
    assert f"{one.next_run_at:%d %H:%M}" == "26 02:00"


def test_without_a_zone_that_of_the_project_holds(declare: Any, settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    declare(Note, Recurring("0 3 * * *"))
    synchronize("default")
    assert the_only().time_zone == "Asia/Tokyo"


def test_nothing_is_written_where_nothing_has_changed(
    declare: Any, django_assert_num_queries: Any
) -> None:
    declare(Note, Recurring("0 3 * * *", fields={"text": "x"}, start_at=NOON, window=60))
    synchronize("default")
    Recurrence.objects.update(last_slot=NOON)
    with django_assert_num_queries(2):  # Which tables there are, and their rows.
        synchronize("default")
    assert the_only().last_slot == NOON


def test_a_change_in_the_code(declare: Any) -> None:
    declare(Note, Recurring("0 3 * * *", time_zone="UTC"))
    synchronize("default")
    declare(Note, Recurring("0 4 * * *", time_zone="UTC", queue="mail", priority=3))
    synchronize("default")
    one = the_only()
    assert (one.expression, one.queue, one.priority) == ("0 4 * * *", "mail", 3)
    assert f"{one.next_run_at:%d %H:%M}" == "26 04:00"


def test_what_people_disable_stays_disabled(declare: Any) -> None:
    declare(Note, Recurring("0 3 * * *"))
    synchronize("default")
    Recurrence.objects.disable("a holiday")
    declare(Note, Recurring("0 4 * * *"))
    synchronize("default")
    one = the_only()
    assert (one.enabled, one.disabled_reason, one.expression) == (False, "a holiday", "0 4 * * *")


def test_one_that_is_declared_disabled(declare: Any) -> None:
    declare(Note, Recurring("0 3 * * *", enabled=False))
    synchronize("default")
    assert not the_only().enabled
    Recurrence.objects.enable()
    synchronize("default")
    assert the_only().enabled


def test_one_that_is_gone_from_the_code_and_comes_back(declare: Any) -> None:
    """It is disabled, not deleted: its history stays."""
    declare(Note, Recurring("@hourly"))
    synchronize("default")
    make_due(the_only(), NOON.replace(hour=13), "default")
    declare(Note)
    synchronize("default")
    one = the_only()
    assert (one.enabled, one.next_run_at) == (False, None)
    assert one.disabled_reason == "its declaration is gone from the code"
    declare(Note, Recurring("@hourly"))
    synchronize("default")
    assert the_only().enabled and RecurrenceSlot.objects.count() == 1


def test_one_that_is_called_as_its_kind_follows_a_new_name(declare: Any) -> None:
    """What people said of it, and its history, stay with it. It makes as of now what it would."""
    declare(Note, Recurring("@hourly"))
    synchronize("default")
    make_due(the_only(), NOON.replace(hour=13), "default")
    Recurrence.objects.disable("a holiday")
    # What a migration leaves that renames a model: its content type's id is the same.
    Recurrence.objects.update(name="kinds.Letter")
    synchronize("default")
    one = the_only()
    assert (one.name, one.enabled, one.disabled_reason) == ("kinds.Note", False, "a holiday")
    assert one.slots.count() == 1
    Recurrence.objects.enable()
    synchronize("default")
    assert the_only().enabled


def test_one_with_a_name_of_its_own_is_another_one(declare: Any) -> None:
    """A name that the code gives says which it is; so does that of a kind that is still there."""
    declare(Note, Recurring("@hourly", name="first"))
    synchronize("default")
    declare(Note, Recurring("@hourly", name="second"))
    synchronize("default")
    declare(Note, Recurring("@hourly"))
    declare(LongNote, Recurring("@hourly", name="third"))
    synchronize("default")
    rows = Recurrence.objects.values_list("name", "enabled")
    assert set(rows) == {
        ("first", False),
        ("second", False),
        ("kinds.Note", True),
        ("third", True),
    }


def test_rows_by_hand_are_left_alone(declare: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Also one that has the name of a declared one, which is said."""
    declare(Note, Recurring("@hourly", name="mine"))
    kind = {"kind": Note.schedule(NOON).kind}
    Recurrence.objects.create(name="mine", expression="@daily", **kind)
    Recurrence.objects.create(name="other", expression="@daily", **kind)
    synchronize("default")
    rows = Recurrence.objects.values_list("name", "expression", "enabled", "from_code")
    assert set(rows) == {("mine", "@daily", True, False), ("other", "@daily", True, False)}
    assert "'mine' of kinds.Note is not brought into the database" in caplog.text


def test_an_operator_only_inserts(declare: Any, django_assert_num_queries: Any) -> None:
    """In a rolling deploy old operators start beside new ones; none undoes what the other did."""
    declare(Note, Recurring("0 3 * * *"))
    insert_missing("default")
    declare(Note, Recurring("0 4 * * *"), Recurring("0 5 * * *", name="more"))
    insert_missing("default")
    rows = Recurrence.objects.order_by("name").values_list("name", "expression")
    assert list(rows) == [("kinds.Note", "0 3 * * *"), ("more", "0 5 * * *")]
    with django_assert_num_queries(1):
        insert_missing("default")
    declare(Note)
    with django_assert_num_queries(0):
        insert_missing("default")
    assert Recurrence.objects.enabled().count() == 2


def test_migrate_brings_them(declare: Any) -> None:
    declare(Sweep, Recurring("@daily", name="sweep"))
    call_command("migrate", verbosity=0, interactive=False)
    assert the_only().name == "sweep"


def test_which_class_declares(declare: Any) -> None:
    """A kind's own, an abstract base's; not those of a parent that is a kind itself."""
    hourly, daily = Recurring("@hourly"), Recurring("@daily")
    declare(Note, hourly)
    declare(Reported, daily)
    assert declarations(Note) == [hourly] and declarations(Report) == [daily]
    assert declarations(LongNote) == declarations(QuickNote) == declarations(Sweep) == []
    declare(LongNote, daily)
    assert declarations(LongNote) == [daily]


DAILY = Recurring("0 3 * * *")


@pytest.mark.parametrize(
    "written", [DAILY, None, 3, "0 3 * * *", (each for each in [DAILY])], ids=lambda each: ""
)
def test_what_is_no_list_is_an_error(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Note, "recurrences", written, raising=False)
    ((number, said),) = found_wrong(Note)
    assert number == "operator_app.E015"
    assert said == f"kinds.Note.recurrences is {written!r}, which is no list."


def test_what_is_wrong_with_another_kind_is_said_of_that(
    declare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(Note, DAILY)
    for written in (["0 3 * * *"], DAILY, [DAILY, 5]):
        monkeypatch.setattr(Report, "recurrences", written, raising=False)
        assert found_wrong(Note) == []
        assert [number for number, _said in found_wrong(Report)] == ["operator_app.E015"]
