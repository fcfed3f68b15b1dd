"""Installs the client libraries of PostgreSQL and MySQL/MariaDB: `python -m tests.extras`.

Each by itself, and neither must succeed: mysqlclient is compiled where it is installed and needs a
C compiler and the headers of the client library. A database whose library is missing is named as
not found by `tests.run`.
"""

from __future__ import annotations

import subprocess
import sys

from tests.databases import ROOT

EXTRAS = {
    "postgresql": "psycopg has no binary for this platform, and no libpq was found either",
    "mysql": (
        "mysqlclient needs a C compiler, pkg-config and the client headers "
        "(Debian: gcc pkg-config libmariadb-dev python3-dev)"
    ),
}


def main() -> int:
    """Try each extra; always 0."""
    for extra, reason in EXTRAS.items():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "-e", f".[{extra}]"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            print(f"Installed the extra '{extra}'.", flush=True)
            continue
        print(done.stdout[-2000:] + done.stderr[-2000:])
        print(
            f"The extra '{extra}' could not be installed, so its database will not be tested.\n"
            f"Usual reason: {reason}.\n"
            f"Once that is there: {sys.executable} -m pip install -e '.[{extra}]'",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
