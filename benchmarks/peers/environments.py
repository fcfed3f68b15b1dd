"""One virtual environment for each contender, under build/bench, made when its pins change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"
HERE = Path(__file__).resolve().parent
NEWEST = ("3.14", "3.13", "3.12")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python")


class Unavailable(Exception):
    """An environment could not be made; says why."""


def interpreter() -> str:
    """Return the Python that all contenders run on: the newest here, as one of them needs 3.12.

    A pyenv shim is on the PATH for every Python installed and starts only those selected, so
    pyenv's own folder is looked at first.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in NEWEST:
        found = [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)]
        if on_path := shutil.which(f"python{version}"):
            found.append(on_path)
        for path in found:
            asked = subprocess.run([path, "-c", "import venv"], capture_output=True, check=False)
            if asked.returncode == 0:
                return path
    return sys.executable


def make(folder: str, python: str, *, tree: bool = False, extra: str = "") -> Path:
    """Return the folder with the programs of an environment, after making it if it is not there.

    Args:
        folder: of `benchmarks/peers`, whose requirements.txt is installed.
        python: the interpreter to make it with.
        tree: install this tree, too, so that it is always the newest.
        extra: a file beside requirements.txt to install as well.

    Raises:
        Unavailable: with the last lines of what pip said.
    """
    name = f"{folder}-{Path(extra).stem}" if extra else folder
    files = [HERE / folder / name for name in ("requirements.txt", extra) if name]
    pins = "".join(path.read_text() for path in files) + python
    home, stamp = BUILD / "environments" / name, BUILD / "environments" / name / ".pins"
    digest = hashlib.sha256(pins.encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        shutil.rmtree(home, ignore_errors=True)
        _call([python, "-m", "venv", "--without-pip", str(home)])  # ours installs into it
        wanted = [part for path in files for part in ("-r", str(path))]
        _call([*PIP, str(home), "install", *wanted])
        if tree:
            _call([*PIP, str(home), "install", "--no-deps", "--editable", str(ROOT)])
        stamp.write_text(digest)
    return home / "bin"


def versions(binaries: Path) -> dict[str, str]:
    """Return what is installed in an environment."""
    packages = [str(path) for path in binaries.parent.glob("lib/python*/site-packages")]
    return {found.name.lower(): found.version for found in distributions(path=packages)}


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-8:]
        raise Unavailable("\n".join([" ".join(command), *said]))
