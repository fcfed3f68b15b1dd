"""Child processes: how they start or do not, and that nothing of them is left behind."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

from operator_app.models import Operation, OperationJob
from operator_app.outcomes import Finished, Released, Retried
from operator_app.runners import ProcessRunner
from operator_app.runners.children import Child
from tests.databases import ROOT
from tests.models.tools import stored
from tests.once import once
from tests.processes import poll
from tests.runners.conftest import Collected
from tests.runners.support import begun, children, is_alive, open_files, pids, record
from tests.work.models import Deed, Entry, ShortDeedInChild

# Processes and pipes. What goes through them is in the other modules here.
pytestmark = [pytest.mark.django_db(transaction=True), once]

Claimed = Callable[[Operation], OperationJob]

PREAMBLE = """
import os, sys
import django
django.setup()
from operator_app.models import Operation, OperationJob
job = OperationJob.of(Operation.all_objects.get(pk=int(sys.argv[1])))
from operator_app.runners import ProcessRunner
ended = []
runner = ProcessRunner(1, ended.append)
runner.submit(job)
"""


def no_settings(monkeypatch: Any, folder: Path) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.no_such_settings")


def settings_that_exit(monkeypatch: Any, folder: Path) -> None:
    (folder / "fatal_settings.py").write_text("import os; os._exit(0)")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "fatal_settings")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
    monkeypatch.syspath_prepend(str(folder))


def no_interpreter(monkeypatch: Any, folder: Path) -> None:
    resource_tracker.ensure_running()  # it could not be started, either
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", os.fsencode(folder / "python"))


def no_files(monkeypatch: Any, folder: Path) -> None:
    def refuse(name: str) -> Child:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("operator_app.runners.slots.Child", refuse)


def too_slow(monkeypatch: Any, folder: Path) -> None:
    monkeypatch.setattr("operator_app.runners.children.READY_WITHIN", 0.01)
    monkeypatch.setattr("operator_app.runners.children.LOOK", 0.01)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (no_settings, "No module named 'tests.no_such_settings'"),
        (settings_that_exit, "ended with exit code 0"),
        (no_interpreter, "ended with exit code 255"),
        (no_files, "Too many open files"),
        (too_slow, "was not ready within 0.01 s"),
    ],
)
def test_a_child_that_cannot_start_is_no_crash(
    *,
    runner: ProcessRunner,
    collected: Collected,
    claimed: Claimed,
    monkeypatch: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[[Any, Path], None],
    words: str,
) -> None:
    """Jobs are given back uncharged, for later, with one error in the log however often that is;
    when the trouble is over jobs run.
    """
    jobs = [claimed(Deed.dispatch()) for _ in range(3)]
    with monkeypatch.context() as broken:
        trouble(broken, tmp_path)
        for job in jobs[:2]:
            runner.submit(job)
        collected.wait(2)
        poll(lambda: runner.is_idle, 10, "both to be handed over")
    for job in jobs[:2]:
        assert isinstance(job.ending, Released)
        assert job.ending.delay > 0
        assert words in job.ending.reason
        assert record(job) == [job]
        assert stored(job.operation).crashes == 0
    (line,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert words in line.message
    runner.submit(jobs[2])
    assert isinstance(collected.wait(3).ending, Finished)
    assert caplog.text.count("Child processes start again.") == 1


def test_why_a_child_cannot_start_is_told_in_full(
    runner: ProcessRunner,
    collected: Collected,
    claimed: Claimed,
    monkeypatch: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The child's traceback is in the parent's log."""
    no_settings(monkeypatch, Path())
    runner.submit(claimed(Deed.dispatch()))
    collected.wait(1)
    assert "in import_module" in caplog.text


@pytest.mark.parametrize("times", [1, 5])
def test_a_child_that_dies_before_it_begins_is_no_crash(
    *,
    runner: ProcessRunner,
    collected: Collected,
    claimed: Claimed,
    monkeypatch: Any,
    caplog: pytest.LogCaptureFixture,
    times: int,
) -> None:
    """Killed between two jobs, so late that it was given the second: another child gets that one.
    If that happens over and over the job is given back.
    """
    run, killed = Child.run, []

    def kill_first(child: Child, claim: Any) -> Any:
        if len(killed) < times:
            killed.append(child)
            child.kill()
        return run(child, claim)

    monkeypatch.setattr(Child, "run", kill_first)
    job = claimed(Deed.dispatch())
    runner.submit(job)
    assert collected.wait(1) is job
    assert isinstance(job.ending, Finished if times == 1 else Released)
    assert Entry.objects.filter(line__regex="[0-9]").count() == (1 if times == 1 else 0)
    errors = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(errors) == (0 if times == 1 else 1)
    assert all("SIGKILL" in error for error in errors)


def test_the_start_of_another_child_costs_no_time(
    *,
    runner: ProcessRunner,
    collected: Collected,
    claimed: Claimed,
    monkeypatch: Any,
) -> None:
    """The child dies before it has begun: the timeout is counted anew, from when the next can."""
    run, times = Child.run, []

    def kill_first(child: Child, claim: Any) -> Any:
        times.append(Operation.all_objects.get().times_out_at)
        if len(times) == 1:
            child.kill()
        return run(child, claim)

    monkeypatch.setattr(Child, "run", kill_first)
    job = claimed(ShortDeedInChild.dispatch())
    runner.submit(job)
    assert collected.wait(1) is job
    assert isinstance(job.ending, Finished)
    first, second = times
    assert second > first and job.operation.times_out_at == second
    assert not job.ran_apart


def test_nothing_is_left_of_children(run: Claimed, runner: ProcessRunner) -> None:
    """Neither files nor processes grow in number, whether children work, crash or are recycled."""

    def use() -> None:
        for ending in ("", "exit 3", "fail", f"signal {int(signal.SIGKILL)}"):
            run(Deed.dispatch(ending=ending))
            Operation.all_objects.update(should_run_at="2100-01-01T00:00Z")

    use()
    poll(lambda: "Z" not in children().values(), 5, "the dead to be buried")
    before = open_files(), len(children())
    for _ in range(2):
        use()
    poll(
        lambda: (open_files(), len(children())) == before,
        5,
        lambda: f"{before} files and children, got {(open_files(), len(children()))}",
    )


def test_a_crash_is_noticed_though_a_process_is_left_behind(
    run: Claimed, monkeypatch: Any, tmp_path: Path
) -> None:
    """What an operation has forked holds the child's ends of all pipes: its death shows anyway."""
    place = tmp_path / "pid"
    monkeypatch.setenv("OPERATOR_TEST_ORPHAN", str(place))
    try:
        job = run(Deed.dispatch(ending="orphan"))
        assert isinstance(job.ending, Retried)
        assert "exit code 3" in job.ending.reason
        assert is_alive(int(place.read_text()))
    finally:
        os.kill(int(place.read_text()), signal.SIGKILL)


def test_children_end_with_their_parent(in_children: None, claimed: Claimed) -> None:
    """Killed in the middle of an operation, a parent takes its child along."""
    job = claimed(Deed.dispatch(ending="wait"))
    script = PREAMBLE + "import time; time.sleep(60)"
    command = [sys.executable, "-c", script, str(job.operation_id)]
    with subprocess.Popen(command, cwd=ROOT) as parent:
        try:
            pid = begun(1)
            assert is_alive(pid)
        finally:
            parent.kill()
    poll(lambda: not is_alive(pid), 10, "the child to follow its parent")


def test_an_interpreter_ends_though_nobody_closed_the_runner(
    in_children: None, claimed: Claimed
) -> None:
    """Python waits for its children, and these heed no signal; they are sent away before."""
    job = claimed(Deed.dispatch())
    script = PREAMBLE + "import time\nwhile not runner.is_idle: time.sleep(0.01)"
    command = [sys.executable, "-c", script, str(job.operation_id)]
    subprocess.run(command, cwd=ROOT, timeout=180, check=True)
    assert not is_alive(pids()[0])


def test_a_signal_while_a_child_starts(run: Claimed, monkeypatch: Any, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM reach whole process groups: they end no child that is only starting."""
    words = (
        "import os, signal\nfor each in (signal.SIGTERM, signal.SIGINT): os.kill(os.getpid(), each)"
    )
    (tmp_path / "sitecustomize.py").write_text(words)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    assert isinstance(run(Deed.dispatch()).ending, Finished)
