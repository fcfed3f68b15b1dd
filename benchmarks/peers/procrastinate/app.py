"""The app that its workers are started with."""

from __future__ import annotations

from procrastinate import App, PsycopgConnector
from procrastinate.connector import BaseConnector

from benchmarks.peers.adapter import url
from benchmarks.peers.marks import mark


def make(connector: BaseConnector) -> App:
    """Return an app with the one task."""
    made = App(connector=connector)

    @made.task(name="tick")
    async def tick(number: int) -> None:
        """Leave a mark. Async, so that no thread is started for it: the faster way here."""
        mark(number)

    return made


app = make(PsycopgConnector(conninfo=url()))
