"""G1-G4: operators are killed, paused and told to leave at random times, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress

from django.db.models import F

from operator_app import clock
from operator_app.models import Operation
from tests.chaos.conftest import Start
from tests.chaos.support import (
    DATABASE,
    QUICK,
    account,
    due,
    evidence,
    rounds,
    seed,
    tell,
    terminate,
    wait_until_ended,
)
from tests.chaos.work.models import AtomicTask, Task
from tests.leftovers import processes_of
from tests.process.support import lines, pause, ready
from tests.processes import OperatorUnderTest

SETTINGS = {"HEARTBEAT": QUICK, "POLL_INTERVAL": 0.2}
Deed = Callable[[OperatorUnderTest], bool]
"""What is done to an operator; returns whether that may let an operation be repeated."""

UP = 0.8
"""How often a blow waits until its victim has come up; else it may come before that, or after."""


def test_kill_9_at_random_times(operate: Start, started: list[OperatorUnderTest]) -> None:
    """Whoever is killed when, plain operations run at least once and once more per kill at most,
    atomic ones exactly once.
    """
    chance, kills = _begin(rounds(6))
    work = _Work(chance, started)
    operators = [operate("--threads", "3", **SETTINGS) for _ in range(2)]
    for kill in range(kills):
        work.add()
        place = chance.randrange(2)
        if chance.random() < UP:
            ready(operators[place])
        pause(chance.uniform(0.05, 0.8))
        print(f"{kill + 1}: kill {operators[place].pid}")
        operators[place].kill()
        operators[place] = operate("--threads", "3", **SETTINGS)
    work.settle(operators, kills)


def test_whatever_happens_to_a_process(operate: Start, started: list[OperatorUnderTest]) -> None:
    """Kills of operators and of their children, pauses longer than the heartbeat's timeout, and
    orders to leave, all mixed: nothing is lost, nothing atomic doubled, no claim run twice.
    """
    chance, times = _begin(rounds(4))
    work = _Work(chance, started)
    operators = [operate("--threads", "3", **SETTINGS) for _ in range(3)]
    # While one is frozen what another held becomes suspect, so that there are children to kill.
    deeds: list[Deed] = [_kill, _freeze, _kill_children_of, _dismiss]
    harm = 0
    for number in range(times):
        work.add()
        place = chance.randrange(3)
        if chance.random() < UP:
            ready(operators[place])
        pause(chance.uniform(0.05, 0.8))
        # Each of them once, then whatever comes: the short form has seen them all.
        deed = deeds[number] if number < len(deeds) else chance.choice(deeds)
        _tell(number, deed, operators[place])
        harm += deed(operators[place])
        if not operators[place].running:
            operators[place] = operate("--threads", "3", **SETTINGS)
    work.settle(operators, harm, operators_died=False)


def test_whatever_happens_to_a_quarantine(operate: Start, started: list[OperatorUnderTest]) -> None:
    """Suspects run one by one in a child process: that may be killed, and its operator killed or
    told to leave, at any moment; none is lost, none runs uncharged, none twice at once.
    """
    chance, times = _begin(rounds(3))
    plain = due(Task, 8 * times, seconds=0.05)
    atomic = due(AtomicTask, 3 * times, seconds=0.02)
    Operation.all_objects.update(crashes=1)
    operators = [operate("--threads", "2", **SETTINGS) for _ in range(2)]
    for number in range(times):
        place = chance.randrange(2)
        ready(operators[place])
        pause(chance.uniform(0.05, 1.5))
        deed = (_kill_children_of, _dismiss, _kill)[number % 3]
        _tell(number, deed, operators[place])
        deed(operators[place])
        if not operators[place].running:
            operators[place] = operate("--threads", "2", **SETTINGS)
    wait_until_ended(plain + atomic, *operators, timeout=60 + len(plain))
    terminate(*operators)
    Operation.all_objects.update(crashes=F("crashes") - 1)
    result = account(plain, atomic, times, operators_died=False)
    tell(result)
    wrong = result.lost + result.duplicated
    assert wrong == [], f"{result}\n{evidence(wrong, started)}"


def _tell(number: int, deed: Deed, operator: OperatorUnderTest) -> None:
    print(f"{number + 1}: {deed.__name__.strip('_').replace('_', ' ')} {operator.pid}")


def _kill(operator: OperatorUnderTest) -> bool:
    operator.kill()
    return True


def _kill_children_of(operator: OperatorUnderTest) -> bool:
    """Kill what the operator has started; the quarantine does so, for one."""
    children = sorted(processes_of(operator) - {operator.pid})
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(children)


def _freeze(operator: OperatorUnderTest) -> bool:
    operator.signal(signal.SIGSTOP)
    pause(1.5 * QUICK["timeout"])
    operator.signal(signal.SIGCONT)
    return True


def _dismiss(operator: OperatorUnderTest) -> bool:
    operator.terminate()
    assert operator.wait() in {0, -signal.SIGTERM}, operator.log  # the latter while it came up
    return False


def _begin(times: int) -> tuple[random.Random, int]:
    number = seed()
    test = os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].partition(" ")[0]
    # As a command, to be copied.
    print(
        f"\nOPERATOR_CHAOS_SEED={number} OPERATOR_TEST_DATABASE={DATABASE} "
        f"make chaos ROUNDS={times} ARGS='-k {test}'"
    )
    return random.Random(number), times


class _Work:
    """The operations of a test, some atomic, some not."""

    def __init__(self, chance: random.Random, started: list[OperatorUnderTest]) -> None:
        self._chance, self._started = chance, started
        self._plain: list[int] = []
        self._atomic: list[int] = []

    def add(self) -> None:
        """Insert about as many as keep the operators busy until the next blow."""
        chance = self._chance
        lasting = [chance.uniform(0, 0.3) for _ in range(chance.randint(15, 35))]
        short = [chance.uniform(0, 0.06) for _ in range(chance.randint(4, 10))]
        now = clock.now()
        for kind, ids, times in ((AtomicTask, self._atomic, short), (Task, self._plain, lasting)):
            rows = [kind(should_run_at=now, seconds=seconds) for seconds in times]
            ids += [operation.pk for operation in kind.schedule_many(rows)]

    def settle(
        self, operators: list[OperatorUnderTest], kills: int, *, operators_died: bool = True
    ) -> None:
        """Wait until all have ended; end the operators; print the account and check it."""
        everything = self._plain + self._atomic
        wait_until_ended(everything, *operators, timeout=60 + len(everything) / 5)
        terminate(*operators)
        result = account(self._plain, self._atomic, kills, operators_died=operators_died)
        tell(result)
        wrong = result.lost + result.duplicated
        assert wrong == [], f"{result}\n{evidence(wrong, self._started)}"
        for operator in self._started:
            # A death is logged as the error that it is; another one would be the engine's.
            errors = [line["exc_info"] for line in lines(operator) if "exc_info" in line]
            assert [error for error in errors if "OperatorLost" not in error] == []
