"""The two doors of the example, opened as a newcomer opens them: `demo` and `serve`."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest

from tests.databases import ROOT
from tests.once import once
from tests.processes import poll

pytestmark = [
    pytest.mark.process,
    once,  # These processes use a SQLite file of their own.
]

browser = build_opener(ProxyHandler({}))


def environment(var: Path) -> dict[str, str]:
    """The newcomer's environment: none of the tests' settings, and Django's warnings are errors."""
    ours = ("DJANGO_SETTINGS_MODULE", "OPERATOR_TEST_", "EXAMPLE_", "PYTEST_", "COV_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {
        "EXAMPLE_VAR": str(var),
        "PYTHONWARNINGS": "error::DeprecationWarning,error::PendingDeprecationWarning",
        "COLUMNS": "140",
    }


def test_the_demo_ends_by_itself_and_everything_became_what_it_should(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "demo"],
        env=environment(tmp_path),
        capture_output=True,
        encoding="utf-8",
        timeout=90,
        check=False,
    )
    everything = done.stdout + done.stderr
    assert done.returncode == 0, everything
    assert done.stderr == ""
    table = done.stdout.partition("What became of them")[2]
    for state in ("finished", "failed", "cancelled", "scheduled"):
        assert state in table, everything
    assert "the basket is already paid" in table
    assert "ZeroDivisionError" in table
    assert "exit code 0" in done.stdout
    assert "asked to abort: Changed(abort_requested=2)" in done.stdout
    changed = done.stdout.partition("What changed in the shop")[2]
    for chore in ("CountShelves", "WatchAuction"):
        assert re.search(rf"✓ {chore} was aborted \d\.\d s after it was asked to abort", changed)
    assert "ArrangeWindow was killed with its process: OperationTimedOut: ran " in changed
    assert (
        "shop.TrackParcel is paused by its circuit breaker (2 failures within 60 s" in done.stdout
    )
    assert "✓ 6 parcels were found, with 2 calls to an absent carrier" in changed
    assert "kill -9" in done.stdout and "Rescued after" in done.stdout
    assert "make serve" in done.stdout
    assert "✗" not in done.stdout


def test_serve_makes_its_database_answers_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with (tmp_path / "output").open("wb") as output:
        serve = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "serve", address],
            env=environment(tmp_path / "var"),
            stdout=output,
            stderr=subprocess.STDOUT,
            # A shell has those that it runs in the background ignore Ctrl-C, and so these tests.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
    said = (tmp_path / "output").read_text
    try:
        poll(lambda: answers(f"http://{address}/admin/login/") or serve.poll() is not None, 60)
        assert serve.poll() is None, said()
        poll(lambda: "finished" in said(), 30, said)
        serve.send_signal(signal.SIGINT)
        assert serve.wait(60) == 0, said()
    finally:
        serve.kill()
        serve.wait()
    assert not answers(f"http://{address}/admin/login/")
    assert "Traceback" not in said()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        with browser.open(url, timeout=5) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False
