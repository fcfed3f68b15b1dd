"""The admin pages: operations, their jobs, the operators; and `OperationAdmin` and
`OperationInline`, to subclass.

@admin.register(RankUp)
class RankUpAdmin(OperationAdmin):
    list_display = [*OperationAdmin.list_display, "user"]
    autocomplete_fields = ["user"]
"""

from operator_app.admin.every import EveryOperationAdmin
from operator_app.admin.inline import OperationInline
from operator_app.admin.job import OperationJobAdmin
from operator_app.admin.operation import OperationAdmin
from operator_app.admin.pause import PauseAdmin
from operator_app.admin.process import OperatorProcessAdmin
from operator_app.admin.recurrence import RecurrenceAdmin

__all__ = [
    "EveryOperationAdmin",
    "OperationAdmin",
    "OperationInline",
    "OperationJobAdmin",
    "OperatorProcessAdmin",
    "PauseAdmin",
    "RecurrenceAdmin",
]
