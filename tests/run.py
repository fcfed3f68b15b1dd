"""Runs the tests once on each database there is: `python -m tests.run [arguments for pytest]`.

SQLite, on a file, is always there. PostgreSQL and MariaDB or MySQL are used where they answer
(`tests/databases.py` says where it looks). Environment:

    OPERATOR_TEST_DATABASE  only these, comma-separated: sqlite,postgresql,mariadb,mysql
    OPERATOR_TEST_REQUIRE   these must be there: a missing one is a failure, not an omission
    OPERATOR_TEST_WORKERS   pytest-xdist workers (two for each core: tests wait more than they work)
    OPERATOR_TEST_USE_TZ    0 runs everything with USE_TZ=False
    OPERATOR_TEST_FRESH     1 starts each operator in a new interpreter, as users do, instead of
                            forking one that is warm (`tests/zygote.py`)
    OPERATOR_TEST_SPREAD    0 runs everything on every database; else tests that are about runners
                            (`tests/spread.py`) are spread over those that are used, unless a path
                            is named
    OPERATOR_TEST_QUICK     1 leaves out tests/chaos and tests/outages, and those that follow the
                            documentation and the demo: a third of the time, unless a path is named

Exits with 0 only if every database used passed and none that was asked for is missing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.databases import ROOT, Found, Missing, look, probe

SLOW = ("tests/chaos", "tests/outages", "tests/example", "tests/test_docs.py")
"""Tests that kill, pause and cut off real processes, and mostly wait; and those that set up a
project for each page of the documentation."""


@dataclass(frozen=True)
class Counts:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclass(frozen=True)
class Result:
    """One run of pytest on one database."""

    database: Found
    counts: Counts
    exit_code: int
    seconds: float

    @property
    def verdict(self) -> str:
        if self.exit_code == 0:
            return "passed"
        if self.exit_code == 5:
            return "FAILED (no test ran)"
        return f"FAILED (pytest exit code {self.exit_code})"


def main(arguments: list[str]) -> int:
    """Look, run, tell; returns the exit code."""
    paths = [argument.partition("::")[0] for argument in arguments]
    named = any(path and (ROOT / path).exists() for path in paths)
    if os.environ.get("OPERATOR_TEST_QUICK") == "1" and not named:
        arguments = [*arguments, *(f"--ignore={path}" for path in SLOW)]
    only, required = _names("OPERATOR_TEST_DATABASE"), _names("OPERATOR_TEST_REQUIRE")
    seen = look()
    known = {entry.name for entry in seen}
    seen += [probe(name) for name in sorted((only | required) - known)]
    wanted = [entry for entry in seen if not only or entry.name in only]
    found = [entry for entry in wanted if isinstance(entry, Found)]
    spread = [] if named or os.environ.get("OPERATOR_TEST_SPREAD") == "0" else found
    missing = [entry for entry in wanted if isinstance(entry, Missing)]
    left_out = [entry for entry in seen if entry not in wanted]

    # A required database that OPERATOR_TEST_DATABASE leaves out has not been tested either.
    lacking = sorted((only | required) - {entry.name for entry in found})

    print(_heading("Databases"))
    for entry in found:
        print(f"  {entry.name:<11} {entry.server}")
    _tell_unused(missing, left_out, required)

    results: list[Result] = []
    interrupted = False
    for database in found:
        print(_heading(f"{database.name}: {database.server}"), flush=True)
        try:
            results.append(_run(database, arguments, spread))
        except KeyboardInterrupt:
            interrupted = True
            break

    print(_heading("Databases used"))
    for result in results:
        print(
            f"  {result.database.name:<11} {result.database.server:<24} {result.verdict}: "
            f"{result.counts} in {result.seconds:.0f} s"
        )
    for database in found[len(results) :]:
        print(f"  {database.name:<11} {database.server:<24} INTERRUPTED")
    _tell_unused(missing, left_out, required)
    total = sum((result.counts for result in results), Counts())
    if lacking:
        print(f"FAILED: required but not tested: {', '.join(lacking)} (counted as failed)")
        total += Counts(failed=len(lacking))
    print(total, flush=True)
    if interrupted:
        return 130
    return int(bool(lacking) or not results or any(result.exit_code for result in results))


def _names(variable: str) -> set[str]:
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}


def _heading(text: str) -> str:
    return f"\n===== {text} " + "=" * max(0, 88 - len(text))


def _tell_unused(
    missing: list[Missing], left_out: list[Found | Missing], required: set[str]
) -> None:
    for entry in missing:
        note = " - REQUIRED" if entry.name in required else ""
        print(f"  {entry.name:<11} not found{note}: {entry.why}")
    for entry in left_out:
        note = " - REQUIRED" if entry.name in required else ""
        print(f"  {entry.name:<11} left out by OPERATOR_TEST_DATABASE{note}")


def _run(database: Found, arguments: list[str], spread: list[Found]) -> Result:
    # One name for pytest's process and its children, and no slot: each run takes its own.
    environment = dict(os.environ, OPERATOR_TEST_DATABASE=database.name)
    # And what is compiled is kept: else each worker rewrites all asserts, and each of hundreds
    # of interpreters compiles the project, for minutes of CPU in all. `make clean` removes it.
    for variable in ("OPERATOR_TEST_NAME", "OPERATOR_TEST_SLOT", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(variable, None)
    workers = os.environ.get("OPERATOR_TEST_WORKERS") or str(2 * (os.cpu_count() or 1))
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "counts.json"  # written by tests/conftest.py
        environment["OPERATOR_TEST_COUNTS"] = str(told)
        environment["OPERATOR_TEST_SPREAD"] = ",".join(entry.name for entry in spread)
        command = [sys.executable, "-m", "pytest", "-n", workers, "--dist", "worksteal"]
        started = time.monotonic()
        exit_code = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=environment, check=False
        ).returncode
        seconds = time.monotonic() - started
        counts = Counts(**json.loads(told.read_text())) if told.exists() else Counts()
    if exit_code and not counts.failed:
        counts += Counts(failed=1)  # it ended without a failed test: crash, bad argument, no tests
    return Result(database, counts, exit_code, seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
