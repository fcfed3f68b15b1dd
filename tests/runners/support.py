"""What the tests of runners in child processes look at."""

from __future__ import annotations

import os
from pathlib import Path

from operator_app.models import Operation, OperationJob
from tests.processes import poll
from tests.work.models import Entry


def pids() -> list[int]:
    """Where operations ran, in order."""
    found = Entry.objects.exclude(line__in=["errored", "succeeded"]).order_by("id")
    return [int(line) for line in found.values_list("line", flat=True)]


def begun(count: int) -> int:
    """Wait until so many deeds have begun; return the process of the last."""
    return poll(lambda: len(pids()) >= count and pids()[-1], 60, f"{count} to begin")


def record(job: OperationJob) -> list[OperationJob]:
    return Operation.all_objects.record([job])


def children() -> dict[int, str]:
    """The processes that this one has started, and their states; "Z" for one that nobody asked how
    it ended.
    """
    found = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, facts = place.read_text().rpartition(") ")
        except OSError:
            continue
        state, parent, *_ = facts.split()
        if int(parent) == os.getpid():
            found[int(place.parent.name)] = state
    return found


def is_alive(pid: int) -> bool:
    """Whether a process lives, whoever started it."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (a Path would open it for longer)
