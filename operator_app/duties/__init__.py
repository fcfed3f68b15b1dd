"""The periodic chores of an operator: each does one thing and says when it wants to do it again."""

from operator_app.duties.base import NowAndThen
from operator_app.duties.dispatch import Dispatch
from operator_app.duties.heartbeat import Heartbeat
from operator_app.duties.prune import Prune
from operator_app.duties.record import Record
from operator_app.duties.recount import Recount
from operator_app.duties.recur import Recur
from operator_app.duties.rescue import Rescue
from operator_app.duties.tally import KeepTally
from operator_app.duties.watch import Watch

__all__ = [
    "Dispatch",
    "Heartbeat",
    "KeepTally",
    "NowAndThen",
    "Prune",
    "Record",
    "Recount",
    "Recur",
    "Rescue",
    "Watch",
]
