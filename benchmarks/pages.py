"""Does a page stay as fast in a long table? `python -m benchmarks.pages [--rows 1000000]`

Opens each page of the admin that the browser tests open, on the example project with few operations
and with many, of every kind and in every state, and compares: the number of queries must be the
same, and the time at most `FLAT` times as long. Times are medians, of the whole answer as Django's
test client gets it. Of a page that is not flat the slowest query is told, and how the database goes
about it. Exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import runs

if TYPE_CHECKING:
    from django.test import Client

    from tests.browser.pages import Place

FEW = 100_000
ROUNDS = 5
FLAT = 3.0
"""How many times longer a page may take in the long table, to count as flat."""
AT_LEAST = 0.02
"""Seconds below which a page is fast, however many times longer that is than it was."""


class Look(NamedTuple):
    """What opening a page took."""

    seconds: float
    queries: int
    slowest: str
    """The SQL of the query that took longest."""
    slowest_seconds: float


def main() -> int:
    """Measure each database that is found, in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="operations in the long table")
    parser.add_argument("--database", action="append", help="only this one; may be repeated")
    parser.add_argument("--page", default="", help="only pages whose name has this in it")
    options = parser.parse_args()
    if runs.is_child():
        return measure(options.rows, options.page)
    return runs.on_each_database(
        "benchmarks.pages",
        options.database,
        f"{FEW:,} and {options.rows:,} operations",
        f"--rows={options.rows}",
        f"--page={options.page}",
        settings="tests.browser.settings",
    )


def measure(rows: int, only: str) -> int:
    """Open the pages in a short table and in a long one; return 1 if one of them was not flat."""
    with runs.database():
        short = opened(FEW, only)
    with runs.database():
        long = opened(rows, only)
        print(f"  {'page':42}{'queries':>16}{'short':>9}{'long':>9}{'ratio':>8}")
        both = [name for name in short if name in long]
        bad = [name for name in both if not told(name, short[name], long[name])]
        print(f"  {len(both)} pages, {len(bad)} of them not flat", flush=True)
        for name in bad:
            explain(name, long[name])
    return int(bool(bad))


def opened(rows: int, only: str) -> dict[str, Look]:
    """Fill the empty database, and open each page; return what that took, by name."""
    from django.contrib.auth.models import User
    from django.test import Client

    from tests.browser.filling import fill
    from tests.browser.pages import places
    from tests.browser.surroundings import BOSS

    start = time.perf_counter()
    fill(rows)
    print(f"  {rows:,} operations made in {time.perf_counter() - start:.0f} s", flush=True)
    client = Client()
    client.force_login(User.objects.get(username=BOSS))
    looks = {place.name: look(client, place) for place in places() if only in place.name}
    return {name: found for name, found in looks.items() if found is not None}


def look(client: Client, place: Place) -> Look | None:
    """Open a page several times; None if it is no page: buttons lead there, or nothing does."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    address = place.address()
    if client.get(address).status_code != 200:  # It also warms up.
        return None
    with CaptureQueriesContext(connection) as captured:
        client.get(address)
    queries = list(captured)  # The next request makes Django forget them.
    slowest = max(queries, key=lambda query: float(query["time"]))
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        client.get(address)
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    return Look(seconds, len(queries), slowest["sql"], float(slowest["time"]))


def told(name: str, short: Look, long: Look) -> bool:
    """Print a line of the table; return whether the page is flat."""
    ratio = long.seconds / short.seconds
    same = short.queries == long.queries
    flat = same and (ratio <= FLAT or long.seconds <= AT_LEAST)
    queries = str(long.queries) if same else f"{short.queries} -> {long.queries}"
    times = f"{1000 * short.seconds:>7.1f}ms{1000 * long.seconds:>7.1f}ms{ratio:>7.2f}x"
    note = "" if flat else "  NOT flat"
    print(f"  {name:42}{queries:>16}{times}{note}", flush=True)
    return flat


def explain(name: str, look: Look) -> None:
    """Print the slowest query of a page, and the plan of the database."""
    from django.db import DatabaseError, connection

    print(f"\n  {name}: {1000 * look.slowest_seconds:.0f} ms of it in\n    {look.slowest}")
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"{connection.ops.explain_query_prefix()} {look.slowest}")
            for row in cursor.fetchall():
                print("    |", *row)
    except DatabaseError as error:
        print(f"    (no plan: {error})")


if __name__ == "__main__":
    sys.exit(main())
