"""The flush of these tests: nothing of one that commits is left, all that `migrate` made is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command

from operator_app.models import Operation
from tests.work.models import Entry, Tick

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def flush() -> Callable[[], None]:
    """Flush as Django does it after a test; this first time, that may be its own way."""

    def flush() -> None:
        call_command("flush", verbosity=0, interactive=False, reset_sequences=False)

    flush()
    return flush


def made() -> list[Any]:
    kinds = set(ContentType.objects.values_list("app_label", "model"))
    return [kinds, set(Permission.objects.values_list("content_type__model", "codename"))]


def test_rows_are_gone_and_kinds_stay(flush: Callable[[], None]) -> None:
    before, ids = made(), set(ContentType.objects.values_list("pk", flat=True))
    last = Tick.schedule(timedelta(hours=1))
    Entry.objects.create(operation_number=last.pk, written_at=0)
    boss = User.objects.create(username="boss")
    boss.user_permissions.add(Permission.objects.earliest("pk"))

    flush()

    assert not Operation.all_objects.exists() and not Entry.objects.exists()
    assert not User.objects.exists() and not User.user_permissions.through.objects.exists()
    assert made() == before
    assert set(ContentType.objects.values_list("pk", flat=True)) == ids
    assert Tick.schedule(timedelta(hours=1)).pk > last.pk  # ids go on, as after Django's own


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: ContentType.objects.create(app_label="attic", model="forgotten"),
        lambda: ContentType.objects.filter(model="tick").update(model="tock"),
        lambda: Permission.objects.earliest("pk").delete(),
    ],
    ids=["one more", "another name", "one less"],
)
def test_kinds_and_permissions_are_made_anew(
    spoil: Callable[[], object], flush: Callable[[], None]
) -> None:
    before = made()
    spoil()
    assert made() != before

    flush()
    assert made() == before
