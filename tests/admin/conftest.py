"""Users, and operations in every state."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client

from operator_app import clock
from operator_app.models import Operation, OperatorProcess
from tests.kinds.models import Note

STATES = ["scheduled", "due", "running", "stuck", "finished", "failed", "cancelled"]


@pytest.fixture
def boss(db: None) -> Client:
    """A client logged in as a superuser."""
    return logged_in(User.objects.create_superuser("boss"))


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """Clients logged in with the permissions given, by codename."""

    def make(*codenames: str) -> Client:
        user = User.objects.create_user(f"user-{uuid.uuid4()}", is_staff=True)
        found = Permission.objects.filter(codename__in=codenames)
        assert {row.codename for row in found} == set(codenames)
        user.user_permissions.set(found)
        return logged_in(user)

    return make


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def operator(**values: Any) -> OperatorProcess:
    now = clock.now()
    given = {
        "hostname": "worker",
        "pid": 4711,
        "version": "1",
        "capacity": 8,
        "started_at": now,
        "heartbeat_at": now,
        "alive_until": now + timedelta(minutes=10),
    }
    return OperatorProcess.objects.create(**given | values)


def put(operation: Operation, **values: Any) -> Operation:
    """Write the engine's columns, as the engine would."""
    Operation.all_objects.filter(pk=operation.pk).update(**values)
    operation.refresh_from_db()
    return operation


def in_state(state: str, model: type[Operation] = Note, **fields: Any) -> Operation:
    """Return an operation that is in this state."""
    operation = model.dispatch(**fields)
    now = clock.now()
    before = now - timedelta(minutes=3)
    if state == "scheduled":
        return put(operation, should_run_at=now + timedelta(hours=1))
    if state == "due":
        return operation
    ended = {"finished": "finished_run_at", "failed": "failed_run_at", "cancelled": "cancelled_at"}
    values: dict[str, Any] = {"started_run_at": before, "attempts": 1}
    if state in ended:
        values |= {ended[state]: now, "operator": 987654, "reason": f"so it {state}"}
        if state == "failed":
            values["failures"] = 1
    else:
        values["operator"] = operator().pk if state == "running" else 987654
    return put(operation, **values)


@pytest.fixture
def gone() -> Operation:
    """An operation whose class this project does not have any more."""
    kind = ContentType.objects.create(app_label="oldshop", model="sendfax")
    operation = put(Note.dispatch(text="left over"), kind=kind)
    return Operation.all_objects.get(pk=operation.pk)
