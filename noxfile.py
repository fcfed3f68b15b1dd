"""`make matrix`: the tests on every supported pair of Python and Django that is here.

    nox -s tests            every pair; says which it left out because the Python is missing
    nox -s ends             the oldest and the newest pair present on SQLite; on the servers the
                            newest again, where its drivers have most to do
    nox -s ends -- -k name  arguments go to pytest

The pairs repeat what does not start operator processes, on every database found: processes behave
alike on all of them, `make test` runs those, and `nox -s tests -- -m ""` runs them here too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests"]

PYTHONS = {
    "3.10": ["5.2"],
    "3.11": ["5.2"],
    "3.12": ["5.2", "6.0", "6.1"],
    "3.13": ["5.2", "6.0", "6.1"],
    "3.14": ["5.2", "6.0", "6.1"],
}
PAIRS = [(python, django) for python, djangos in PYTHONS.items() for django in djangos]


def interpreters() -> dict[str, Path]:
    """The folder of each supported Python that really starts; pyenv's are looked at too.

    A pyenv shim is on the PATH for every Python installed, and starts only those selected.
    """
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders.append(Path(sys.base_prefix) / "bin")
    folders += sorted(root.glob("versions/*/bin"), reverse=True)
    found: dict[str, Path] = {}
    for python in PYTHONS:
        for folder in folders:
            candidate = folder / f"python{python}"
            if candidate.exists() and _starts(candidate):
                found[python] = folder
                break
    return found


def _starts(candidate: Path) -> bool:
    command = [str(candidate), "-c", "import ctypes, sqlite3, ssl, venv"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


FOLDERS = interpreters()
# nox asks the PATH for python3.x: let it meet those that start before shims that do not.
os.environ["PATH"] = os.pathsep.join([*map(str, FOLDERS.values()), os.environ.get("PATH", "")])
PRESENT = [pair for pair in PAIRS if pair[0] in FOLDERS]
DRIVEN = [
    "tests/duties",
    "tests/wakeups",
    *(
        f"tests/models/test_{name}.py"
        for name in (
            "claims",
            "records",
            "scheduling",
            "transactions",
            "uniqueness",
            "verbs",
            "slots",
        )
    ),
]
"""What asks the drivers of the databases for most."""
ENDS = list(dict.fromkeys([PRESENT[0], PRESENT[-1]])) if PRESENT else []


def _run(session: nox.Session, django: str, env: dict[str, str] | None = None) -> None:
    session.install("--quiet", "--upgrade", "pip>=25.1")
    session.install(
        "--quiet", "-e", ".", "--group", "test", f"django~={django}.0", "--upgrade-strategy=eager"
    )
    session.run("python", "-m", "tests.extras")
    arguments = session.posargs or ["-m", "not process", "-q"]
    session.run("python", "-m", "tests.run", *arguments, env=env)


@nox.session
@nox.parametrize("python,django", PAIRS)
def tests(session: nox.Session, django: str) -> None:
    """The tests on every pair of Python and Django."""
    _run(session, django)


@nox.session
@nox.parametrize("python,django", ENDS)
def ends(session: nox.Session, django: str) -> None:
    """The tests on the oldest and the newest pair present: what `make matrix-ends` and CI run."""
    missing = [python for python in PYTHONS if python not in FOLDERS]
    if missing:
        session.log(f"Not on this machine, so not tried: Python {', '.join(missing)}")
    only_sqlite = {"OPERATOR_TEST_DATABASE": "sqlite", "OPERATOR_TEST_REQUIRE": "sqlite"}
    is_newest = (session.python, django) == ENDS[-1]
    # What the documentation says is tried on the newest; on the oldest, all that is in the package.
    _run(session, django, env=only_sqlite | {"OPERATOR_TEST_QUICK": "0" if is_newest else "1"})
    if is_newest and not session.posargs:
        # SQLite has had them; where it is not said which servers there are, with those that answer.
        servers = os.environ.get("OPERATOR_TEST_REQUIRE", "").replace("sqlite", "").strip(",")
        only_servers = {"OPERATOR_TEST_DATABASE": servers, "OPERATOR_TEST_REQUIRE": servers}
        session.run(
            "python", "-m", "tests.run", *DRIVEN, "-m", "not process", "-q", env=only_servers
        )
