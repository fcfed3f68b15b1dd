"""The app that its workers are started with."""

from __future__ import annotations

from celery import Celery

from benchmarks.peers.adapter import is_best, url
from benchmarks.peers.marks import mark

app = Celery("bench", broker=url())
app.conf.task_ignore_result = True
if is_best():
    app.conf.worker_prefetch_multiplier = 64
    app.conf.worker_send_task_events = False
    app.conf.task_send_sent_event = False


@app.task(name="tick")
def tick(number: int) -> None:
    """Leave a mark."""
    mark(number)
