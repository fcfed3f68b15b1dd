"""Cancel, abort, delete and timeouts of what runs, and of what waits for its child, for each
runner. `tests/models/test_stopping.py` has what has not begun.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from operator_app.models import Changed, Operation, OperationJob
from tests.databases import ROOT
from tests.models.test_stopping import VERBS
from tests.process.conftest import Start
from tests.process.support import assert_nothing_left, entries, lines
from tests.processes import OperatorUnderTest, poll
from tests.work.models import (
    Deaf,
    Entry,
    Hold,
    HoldInChild,
    Patient,
    PatientInline,
    Polite,
    PoliteInline,
    ShortHoldInChild,
)

DELETED = "deleted"
"""What becomes of a row that was deleted while it ran: what it did counts for nothing."""


def delete(rows: Any) -> Changed:
    """As a person does, who knows nothing of verbs."""
    rows.get().delete()
    return Changed.of(deleted=1)


def wait(rows: Any) -> Changed:
    """Until its time is up."""
    return Changed.of(left=1)


DEEDS: dict[str, Callable[[Any], Changed]] = VERBS | {"delete": delete, "timeout": wait}


@dataclass
class Row:
    """A row of the table: what is done to an operation of a kind, and what becomes of it."""

    kind: type[Hold]
    deed: str
    end: str
    outcomes: list[str]
    runs_on: bool = True
    """Whether it runs until its gate is open."""
    operation: Operation | None = None

    def dispatch(self, gate: Path) -> None:
        self.operation = self.kind.dispatch(path=str(gate))

    @property
    def pk(self) -> int:
        assert self.operation is not None
        return self.operation.pk

    def do(self) -> None:
        """Do it, and see that what the verb says is what the table says."""
        changed = DEEDS[self.deed](Operation.objects.filter(pk=self.pk))
        asked, gone = "abort" in self.deed, self.deed == "delete"
        assert changed == Changed.of(abort_requested=asked, deleted=gone, left=not asked | gone)
        assert changed.abort_requested == asked, self

    @property
    def state(self) -> str:
        row = Operation.all_objects.filter(pk=self.pk).first()
        return DELETED if row is None else row.state

    def has_ended(self) -> bool:
        return self.state == self.end

    def check(self) -> None:
        jobs = OperationJob.objects.filter(operation=self.pk).order_by("number")
        kept = list(jobs.values_list("outcome", flat=True))
        assert kept == self.outcomes, self
        row = Operation.all_objects.filter(pk=self.pk).first()
        if row is not None:
            assert row.crashes == 0, self
            assert row.failures == (2 if self.end == "failed" else 0), self
            reasons = {"cancelled": "enough", "finished": row.reason, "failed": row.reason}
            assert row.reason == reasons[self.end], self
        if self.end == "failed":
            assert row is not None and row.reason.startswith("OperationTimedOut: ran "), self


def rows_of(kind: type[Hold], limited: type[Hold], *, ends: bool, kept: list[str]) -> list[Row]:
    """The rows of one runner.

    Args:
        kind: without a timeout.
        limited: with one.
        ends: whether it ends when it is told to, or runs on until its gate is open.
        kept: the outcomes that are kept of it if it finishes.
    """
    cancelled = ("cancelled", ["aborted"], False) if ends else ("finished", kept)
    timed_out = ("failed", ["retried", "failed"], False) if ends else ("finished", kept)
    return [
        Row(kind, "cancel", "finished", kept),
        Row(kind, "cancel, delete", "finished", kept),
        Row(kind, "cancel, abort", *cancelled),
        Row(kind, "cancel, abort, delete", *cancelled),
        Row(kind, "abort", *cancelled),
        Row(kind, "delete", DELETED, [], not ends),
        Row(limited, "timeout", *timed_out),
    ]


def finish(operator: OperatorUnderTest, rows: list[Row], gate: Path) -> None:
    """Wait for those that end by themselves, let all others end; see what became of each."""
    early = [row for row in rows if row.end in {"cancelled", "failed"}]
    poll(lambda: all(row.has_ended() for row in early), 30, lambda: f"{early}\n{operator.log}")
    gone = [row.pk for row in rows if row.deed == "delete"]
    poll(lambda: len(lines(operator, "claim_lost")) == len(gone), 20, lambda: operator.log)
    late = [row for row in rows if row not in early]
    assert gate.exists() or {row.state for row in late} <= {"running", "stuck", DELETED}
    gate.touch()
    poll(lambda: all(row.has_ended() for row in late), 30, lambda: f"{late}\n{operator.log}")
    poll(lambda: len(lines(operator, "lost")) == len(gone), 20, lambda: operator.log)
    assert [line["operation_id"] for line in lines(operator, "lost")] == gone
    for row in rows:
        row.check()
    assert sorted(set(entries("ended"))) == sorted(row.pk for row in rows if row.runs_on)
    operator.terminate()
    assert operator.wait() == 0, operator.log
    assert "Traceback" not in operator.stdout and lines(operator, "history_lost") == []
    assert_nothing_left()


@pytest.mark.parametrize(
    "rows",
    [
        rows_of(Hold, Deaf, ends=False, kept=[]),
        rows_of(Polite, Patient, ends=True, kept=[]),
        rows_of(HoldInChild, ShortHoldInChild, ends=True, kept=["finished"]),
    ],
    ids=["threads, deaf", "threads, looking", "processes"],
)
def test_running(operate: Start, tmp_path: Path, rows: list[Row]) -> None:
    """Side by side in one operator, none touches another."""
    gate = tmp_path / "gate"
    for row in rows:
        row.dispatch(gate)
    operator = operate(THREADS=len(rows), CHILDREN=len(rows))
    poll(lambda: len(set(entries("begun"))) == len(rows), 30, lambda: operator.log)
    for row in rows:
        row.do()
    if rows[-1].kind is Deaf:
        poll(lambda: rows[-1].state == "stuck", 20, lambda: operator.log)
    finish(operator, rows, gate)


def test_running_inline(operate: Start, tmp_path: Path) -> None:
    """One after the other in the operator's main thread, which hears nothing itself meanwhile."""
    rows = rows_of(PoliteInline, PatientInline, ends=True, kept=[])
    operator = operate(POLL_INTERVAL=0.05)
    for number, row in enumerate(rows):
        gate = tmp_path / f"gate {number}"
        row.dispatch(gate)
        begun = Entry.objects.filter(line="begun", operation_number=row.pk)
        poll(begun.exists, 20, lambda: operator.log)
        row.do()
        if row.runs_on:
            gate.touch()
        poll(row.has_ended, 20, lambda: operator.log)
    gate.touch()
    finish(operator, rows, gate)


WAIT = """
import os, sys, time
deadline = time.monotonic() + 60
while "--multiprocessing-fork" in sys.orig_argv and not os.path.exists(os.environ["CHILD_GATE"]):
    if time.monotonic() > deadline:
        break
    time.sleep(0.01)
"""


def test_waiting_for_a_child(operate: Start, tmp_path: Path) -> None:
    """Claimed, and its child is only starting: what is to be aborted, or was deleted, never runs,
    and nobody's time is running."""
    (gate := tmp_path / "gate").touch()
    (tmp_path / "sitecustomize.py").write_text(WAIT)
    rows = rows_of(HoldInChild, ShortHoldInChild, ends=True, kept=["finished"])
    rows[-1].end, rows[-1].outcomes = "finished", ["finished"]
    for row in rows:
        row.dispatch(gate)
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    children = tmp_path / "children"
    operator = operate(CHILDREN=len(rows), env={"PYTHONPATH": path, "CHILD_GATE": str(children)})
    started = Operation.objects.started()
    poll(lambda: started.count() == len(rows), 20, lambda: operator.log)
    for row in rows:
        row.do()
    assert Operation.objects.filter(begun_run_at__isnull=False).count() == 0
    assert Operation.objects.filter(times_out_at__isnull=False).count() == 0
    children.touch()
    poll(lambda: all(row.has_ended() for row in rows), 30, lambda: operator.log)
    never = {row.pk for row in rows if row.end in {"cancelled", DELETED}}
    assert not never & set(Entry.objects.values_list("operation_number", flat=True))
    poll(lambda: lines(operator, "lost"), 20, lambda: operator.log)
    for row in rows:
        row.check()
    operator.terminate()
    assert operator.wait() == 0
    assert_nothing_left()
