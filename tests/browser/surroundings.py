"""What is around the operations: the shop's things, people, operators, recurrences, pauses."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.contrib.auth.models import Permission, User
from django.core.management import call_command

from example_project.shop import models as shop
from operator_app import __version__
from operator_app.models import OperatorProcess, Pause, Recurrence, RecurrenceSlot, kinds
from operator_app.models.circuit import Circuit

BOSS: Final = "ada"
"""A superuser."""
VIEWER: Final = "vera"
"""One of the staff, who may look at everything and change nothing."""


def make(now: datetime) -> list[OperatorProcess]:
    """Make it all, but for the slots of recurrences; return the operators."""
    call_command("loaddata", "marginalia", verbosity=0)
    people()
    pauses(now)
    return [_operator(now, number) for number in range(8)]


def people() -> None:
    """Make two users, of whom one may only view."""
    User.objects.create_superuser(BOSS, first_name="Ada")
    viewer = User.objects.create_user(VIEWER, is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))


def _operator(now: datetime, number: int) -> OperatorProcess:
    """Five live, of which one is leaving; three are lost."""
    is_lost, beat = number >= 5, now - timedelta(seconds=2 if number < 5 else 900 * number)
    return OperatorProcess.objects.create(
        hostname=f"shop-{number % 3 + 1}",
        pid=4021 + 7 * number,
        version=__version__,
        queues=[[], ["mail", "partners"], ["catalogue"]][number % 3],
        kinds=sorted(kinds.known_kinds("default")),
        capacity=8 + 4 * (number % 2),
        started_at=now - timedelta(hours=7 * number + 1),
        heartbeat_at=beat,
        # Nobody beats while the tests look, so a live one has been good for a day.
        alive_until=beat + timedelta(seconds=30) if is_lost else now + timedelta(days=1),
        lost_at=now - timedelta(seconds=600) if number >= 6 else None,
        draining=number == 4,
    )


def pauses(now: datetime) -> None:
    """Pause a queue, a kind in a queue until tomorrow, and open a circuit."""
    Pause.objects.pause(queue="ranks", reason="the new ranks are not decided yet", by=BOSS)
    Pause.objects.pause(
        kind=shop.RemindBasket, queue="mail", until=timedelta(days=1), reason="sale", by=BOSS
    )
    kind = kinds.content_type(shop.TrackParcel, "default")
    pause = Pause.objects.create(
        kind=kind,
        reason="PartnerDown: the partner answered 503",
        paused_by="its circuit breaker",
        from_breaker=True,
    )
    Circuit.objects.create(
        kind=kind, pause=pause, cooldown=600.0, retry_at=now + timedelta(minutes=10)
    )


def recurrences(now: datetime, operation_ids: list[int]) -> None:
    """Make recurrences beside those that the code declares, and slots that were seen to."""
    made = [
        ("rates", shop.FetchRate, "*/15 * * * *", {"currency": "USD"}),
        ("stock of Pennyworth", shop.UpdateStock, "30 6 * * mon-fri", {"wholesaler": "pennyworth"}),
        ("new catalogue", shop.ImportCatalogue, "0 2 1 * *", {}),
    ]
    rows = [
        Recurrence.objects.create(
            name=name,
            kind=kinds.content_type(model, "default"),
            expression=expression,
            time_zone="Europe/Berlin",
            fields=fields,
        )
        for name, model, expression, fields in made
    ]
    Recurrence.objects.filter(pk=rows[-1].pk).disable("no catalogue this month")
    for number, operation_id in enumerate(operation_ids):
        RecurrenceSlot.objects.create(
            recurrence=rows[0],
            slot=now - timedelta(minutes=15 * (number + 1)),
            state="made",
            operation_id=operation_id,
            created_at=now - timedelta(minutes=15 * (number + 1)),
        )
    slot = now - timedelta(minutes=15 * (len(operation_ids) + 1))
    RecurrenceSlot.objects.create(
        recurrence=rows[0],
        slot=slot,
        state="skipped",
        reason="the operation of the slot before had not ended",
        created_at=slot,
    )
