"""The processes of a contender: its client, which is asked, and its workers, which are watched."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

TICK = os.sysconf("SC_CLK_TCK")
MIB = 1024


class PeerError(Exception):
    """A contender did not do what it was asked."""


class Client:
    """The adapter of a contender, running in the contender's environment."""

    def __init__(
        self, command: Sequence[str], environment: dict[str, str], folder: Path, log: IO[str]
    ) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            bufsize=1,
        )

    def ask(self, do: str, *, patience: float = 600, **arguments: Any) -> Any:
        """Have the adapter do something, and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        except BrokenPipeError as error:
            raise PeerError(f"the adapter ended before {do!r}") from error
        ready, _, _ = select.select([self._process.stdout], [], [], patience)
        if not ready:
            raise PeerError(f"no answer to {do!r} within {patience:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"the adapter ended at {do!r}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{do!r}: {answer['error']}")
        return answer["value"]

    def close(self) -> None:
        """End the adapter."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Usage:
    """What the workers of a contender take, all their processes together."""

    processes: int
    rss: float
    """MiB that are resident, as `ps` counts them: what forks share is counted for each."""
    pss: float
    """The same, with what is shared divided among those who share it."""
    cpu: float
    """Seconds of processor time so far."""


class Workers:
    """The workers of a contender, each in a session of its own together with what it starts."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def check(self) -> None:
        """Raise if one of them has ended."""
        for process in self._processes:
            if process.poll() is not None:
                raise PeerError(f"a worker ended by itself with {process.returncode}")

    def usage(self) -> Usage:
        """Look at all of them in /proc."""
        pids = self._pids()
        rss = pss = cpu = 0.0
        for pid in pids:
            try:
                rss += _kib(Path(f"/proc/{pid}/status"), "VmRSS:")
                pss += _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")
                cpu += sum(map(int, _stat(pid)[11:13])) / TICK
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
        return Usage(len(pids), rss / MIB, pss / MIB, cpu)

    def stop(self, patience: float) -> None:
        """Ask all to leave, and kill what of them is still there after `patience` seconds."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + patience
        for process in self._processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
        for pid in self._pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for process in self._processes:
            process.wait()

    def _pids(self) -> list[int]:
        """Every process of the sessions, whoever its parent is by now."""
        sessions = {str(process.pid) for process in self._processes}
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = _stat(int(entry.name))
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if fields[3] in sessions and fields[0] != "Z":
                    found.append(int(entry.name))
        return found


@contextmanager
def workers(
    command: Sequence[str], count: int, environment: dict[str, str], folder: Path, log: IO[str]
) -> Iterator[Workers]:
    """Have workers run while the block does."""
    started = Workers(
        [
            subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            for _ in range(count)
        ]
    )
    try:
        yield started
    finally:
        started.stop(5)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the name before may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _kib(path: Path, label: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(label):
            return int(line.split()[1])
    return 0
