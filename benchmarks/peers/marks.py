"""What a job of the benchmarks does: it leaves a mark, the moment at which it began.

The same for every contender, and all that their jobs do: one write of 16 bytes to the end of a
file, about two microseconds. So the harness sees jobs begin without asking anyone's database. The
moment is the wall clock, which all processes of one machine share.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

MARK = struct.Struct("<qq")

_file: list[tuple[str, int]] = []


def mark(number: int) -> None:
    """Write down that job `number` begins now."""
    path = os.environ["BENCH_MARKS"]
    if not _file:
        _file.append((path, os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)))
    os.write(_file[0][1], MARK.pack(number, time.time_ns()))


def count(path: Path) -> int:
    """How many jobs have begun. Looks at the size of the file only."""
    return path.stat().st_size // MARK.size if path.exists() else 0


def read(path: Path) -> list[tuple[int, int]]:
    """Every mark: the job's number, and when it began in nanoseconds since 1970."""
    content = path.read_bytes()
    return list(MARK.iter_unpack(content[: len(content) // MARK.size * MARK.size]))
