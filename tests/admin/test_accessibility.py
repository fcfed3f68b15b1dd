"""What screen readers and keyboards need, beyond what Django's admin gives them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client

from operator_app.models import OperationJob
from tests.admin.conftest import in_state
from tests.kinds.models import Note
from tests.once import once

pytestmark = [pytest.mark.django_db, once]


def boxes(page: str) -> dict[str, str]:
    """The labels of the boxes for dates and times, by name."""
    tags = re.findall(r'<input[^>]*class="v(?:Date|Time)Field"[^>]*>', page)
    found = {}
    for tag in tags:
        (name,) = re.findall(r' name="(\w+)"', tag)
        found[name] = "".join(re.findall(r'aria-label="([^"]*)"', tag))
    return found


@pytest.mark.parametrize(
    ("address", "labels"),
    [
        ("kinds/note/add/", {"should_run_at": "should run at"}),
        ("operator_app/pause/add/", {"until": "until"}),
        ("operator_app/recurrence/add/", {"start_at": "start", "end_at": "end"}),
    ],
)
def test_each_box_of_a_moment_has_a_name(
    boss: Client, address: str, labels: dict[str, str]
) -> None:
    expected = {}
    for name, label in labels.items():
        expected |= {f"{name}_0": f"{label}, the date", f"{name}_1": f"{label}, the time"}
    assert boxes(boss.get(f"/kinds/{address}").content.decode()) == expected


def test_a_form_that_changes_a_moment_names_its_boxes_too(boss: Client) -> None:
    note = Note.schedule(timedelta(days=1))
    page = boss.get(f"/kinds/kinds/note/{note.pk}/change/").content.decode()
    assert set(boxes(page).values()) == {"should run at, the date", "should run at, the time"}


def test_text_that_scrolls_is_reached_with_the_keyboard(boss: Client) -> None:
    operation = in_state("failed")
    job = OperationJob.objects.create(
        operation=operation,
        number=1,
        started_at=operation.started_run_at,
        outcome="failed",
        message="no",
        traceback="Traceback",
        log="a line",
    )
    page = boss.get(f"/kinds/operator_app/operationjob/{job.pk}/change/")
    blocks = re.findall(r'<pre class="operator-text"[^>]*>', page.content.decode())
    blocks += re.findall(r'<div class="operator-trace"[^>]*>', page.content.decode())
    assert len(blocks) == 3 and all('tabindex="0"' in block for block in blocks)
