"""The tables: operations, their jobs, the operators that run them. All ORM lives here."""

from operator_app.models.changed import Changed
from operator_app.models.circuit import Circuit
from operator_app.models.job import OperationJob
from operator_app.models.notice import FailureNotice
from operator_app.models.operation import Operation
from operator_app.models.pause import Pause
from operator_app.models.process import OperatorProcess
from operator_app.models.querysets import AllOperationsManager, OperationManager, OperationQuerySet
from operator_app.models.recurrence import Recurrence
from operator_app.models.slot import RecurrenceSlot
from operator_app.models.tag import OperationTag
from operator_app.models.tally import Tally

__all__ = [
    "AllOperationsManager",
    "Changed",
    "Circuit",
    "FailureNotice",
    "Operation",
    "OperationJob",
    "OperationManager",
    "OperationQuerySet",
    "OperationTag",
    "OperatorProcess",
    "Pause",
    "Recurrence",
    "RecurrenceSlot",
    "Tally",
]
