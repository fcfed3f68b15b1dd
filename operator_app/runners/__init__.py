"""Where jobs run."""

from operator_app.runners.base import Runner
from operator_app.runners.inline import InlineRunner
from operator_app.runners.threads import ThreadRunner

__all__ = ["InlineRunner", "Runner", "ThreadRunner"]
