"""Where jobs run."""

from operator_app.runners.aio import AsyncRunner
from operator_app.runners.base import Runner
from operator_app.runners.collection import Runners
from operator_app.runners.inline import InlineRunner
from operator_app.runners.processes import ProcessRunner
from operator_app.runners.quarantine import Quarantine
from operator_app.runners.threads import ThreadRunner

__all__ = [
    "AsyncRunner",
    "InlineRunner",
    "ProcessRunner",
    "Quarantine",
    "Runner",
    "Runners",
    "ThreadRunner",
]
