"""Claims jobs, runs them and records that they have ended: `worker.py BATCH`.

Two statements for each batch, each in a transaction of its own. No attempts, no fence, no history.
"""

from __future__ import annotations

import sys
import time

import psycopg

from benchmarks.peers.adapter import url
from benchmarks.peers.marks import mark

CLAIM = """
    UPDATE jobs SET started = now() WHERE id IN (
        SELECT id FROM jobs WHERE started IS NULL AND due <= now()
        ORDER BY due, id LIMIT %s FOR UPDATE SKIP LOCKED
    ) RETURNING id, number
"""
FINISH = "UPDATE jobs SET finished = now() WHERE id = ANY(%s)"


def main(batch: int) -> None:
    """Go on until killed."""
    with psycopg.connect(url(), autocommit=True) as connection:
        while True:
            claimed = connection.execute(CLAIM, [batch]).fetchall()
            for _, number in claimed:
                mark(number)
            if claimed:
                connection.execute(FINISH, [[pk for pk, _ in claimed]])
            else:
                time.sleep(0.01)


if __name__ == "__main__":
    main(int(sys.argv[1]))
