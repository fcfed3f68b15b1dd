"""The zygote of the tests: its forks are processes as real as those that a shell starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from operator_app.models import OperatorProcess
from tests.databases import ROOT
from tests.once import once
from tests.process.support import environment as asking_for
from tests.process.support import lines, ready
from tests.processes import OperatorUnderTest, environment, poll
from tests.zygote import Fork, Zygote

Start = Callable[..., OperatorUnderTest]

pytestmark = [
    once,
    pytest.mark.skipif("os.environ.get('OPERATOR_TEST_FRESH') == '1'", reason="asked for none"),
]


@pytest.fixture
def own(zygote: Zygote, tmp_path: Path) -> Iterator[Zygote]:
    """A zygote for this test alone."""
    own = Zygote(environment())
    yield own
    own.close()


def fork(zygote: Zygote, folder: Path, *arguments: str) -> Fork:
    return zygote.fork(arguments, environment(), folder / "stdout", folder / "stderr")


def test_an_ordinary_operator_is_a_fork_that_leads_its_session(
    start_operator: Start, zygote: Zygote
) -> None:
    operator = start_operator(env=asking_for(THREADS=3))

    ready(operator)
    assert operator.is_fork
    assert os.getsid(operator.pid) == os.getpgid(operator.pid) == operator.pid != zygote.pid
    row = OperatorProcess.objects.get()
    assert (row.pid, row.capacity) == (operator.pid, 3)
    assert lines(operator)  # the log that its own environment asks for
    operator.terminate()
    assert operator.wait() == 0
    assert not operator.stdout


def test_what_a_fork_would_not_heed_gets_a_new_interpreter(start_operator: Start) -> None:
    operator = start_operator("--once", env={"PYTHONPATH": str(ROOT)})

    assert operator.wait() == 0, operator.log
    assert not operator.is_fork
    assert "Nothing is due." in operator.stdout


def test_settings_of_one_fork_are_not_those_of_the_next(start_operator: Start) -> None:
    bad = start_operator("--once", env=asking_for(THREADS=0))
    good = start_operator("--once")

    assert bad.is_fork and bad.wait() == 1
    assert "OPERATOR['THREADS'] must be a whole number" in bad.log
    assert good.is_fork and good.wait() == 0
    assert not lines(good)


def test_a_fork_ends_as_an_interpreter_does(zygote: Zygote, tmp_path: Path) -> None:
    wrong = fork(zygote, tmp_path, "no_such_command")

    assert wrong.wait(30) == 1
    assert "Unknown command: 'no_such_command'" in (tmp_path / "stderr").read_text()
    wrong.send_signal(signal.SIGKILL)  # too late, and no error
    assert wrong.wait(0) == wrong.poll() == 1


def test_the_signal_that_ended_a_fork_is_told(start_operator: Start) -> None:
    operator = start_operator()

    with pytest.raises(subprocess.TimeoutExpired):
        operator._process.wait(0.01)
    operator.signal(signal.SIGSTOP)
    poll(lambda: state(operator.pid) == "T", message="it to be stopped")
    assert operator.running
    operator.kill()
    assert operator.returncode == -signal.SIGKILL


@pytest.mark.django_db(transaction=True)
def test_forks_end_with_the_zygote(own: Zygote, tmp_path: Path) -> None:
    operator = OperatorUnderTest(folder=tmp_path, zygote=own)
    ready(operator)
    operator.signal(signal.SIGSTOP)

    own.close()
    poll(lambda: state(operator.pid) in {"", "Z"}, message="its fork to be killed")


def test_a_zygote_ends_with_whoever_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from tests.processes import environment\n"
        "from tests.zygote import Zygote\n"
        "zygote = Zygote(environment())\n"
        "print(zygote.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert state(pid) not in {"", "Z"}
        parent.kill()
    poll(lambda: state(pid) in {"", "Z"}, message="the zygote to end")


def state(pid: int) -> str:
    """The letter of its state; nothing if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
