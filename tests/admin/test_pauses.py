"""The pages of pauses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client

from operator_app import clock
from operator_app.models import Circuit, Pause, kinds
from tests.admin.test_pages import text
from tests.kinds.models import Note
from tests.once import once

pytestmark = [pytest.mark.django_db, once]

LIST = "/kinds/operator_app/pause/"


def test_pausing_and_resuming(boss: Client) -> None:
    kind = kinds.content_type(Note, "default").pk
    assert "kinds.Note" in text(boss.get(f"{LIST}add/"))
    posted = {"queue": "", "kind": kind, "until_0": "", "until_1": "", "reason": "a deploy"}
    assert boss.post(f"{LIST}add/", posted).status_code == 302
    pause = Pause.objects.get()
    assert (pause.what, pause.reason, pause.paused_by) == ("kinds.Note", "a deploy", "boss")
    page = text(boss.get(LIST))
    for words in ("kinds.Note", "a deploy", "boss", "it is deleted"):
        assert words in page, words
    again = boss.post(f"{LIST}add/", posted)
    assert "The same is paused already" in again.content.decode()
    boss.post(f"{LIST}{pause.pk}/delete/", {"post": "yes"})
    assert not Pause.objects.exists()


def test_one_that_is_over(boss: Client) -> None:
    pause = Pause.objects.pause(queue="mail")
    Pause.objects.filter(pk=pause.pk).update(until=clock.now() - timedelta(hours=1))
    assert "over" in text(boss.get(LIST))


def test_who_may_only_look(staff: Callable[..., Client]) -> None:
    pause = Pause.objects.pause(queue="mail")
    client = staff("view_pause")
    assert "mail" in text(client.get(LIST))
    assert client.post(f"{LIST}add/", {"queue": "x"}).status_code == 403
    assert client.post(f"{LIST}{pause.pk}/delete/", {"post": "yes"}).status_code == 403


def test_that_of_a_circuit_breaker(boss: Client) -> None:
    """It says how it goes on; it can be deleted and not edited."""
    kind = kinds.content_type(Note, "default")
    pause = Pause(
        kind=kind, from_breaker=True, reason="5 failures", paused_by="its circuit breaker"
    )
    pause.save()
    retry_at = clock.now() + timedelta(minutes=5)
    circuit = Circuit.objects.create(kind=kind, pause=pause, cooldown=300, retry_at=retry_at)
    page = text(boss.get(LIST))
    for words in ("kinds.Note", "5 failures", "its circuit breaker", "a trial succeeds: one is tr"):
        assert words in page, words
    page = text(boss.get(f"{LIST}{pause.pk}/change/"))
    for words in ("kinds.Note", "5 failures", "its circuit breaker", "a trial succeeds: one is tr"):
        assert words in page, words
    assert "Save" not in page
    posted = {"queue": "x", "kind": kind.pk, "until_0": "", "until_1": "", "reason": ""}
    assert boss.post(f"{LIST}{pause.pk}/change/", posted).status_code == 403
    boss.post(f"{LIST}{pause.pk}/delete/", {"post": "yes"})
    circuit.refresh_from_db()
    assert circuit.pause is None and not Pause.objects.exists()
