"""What is told of operations to programs: values that JSON can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models.fields.files import FieldFile

from operator_app.models.guards import engine_names

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob
    from operator_app.models.operation import Operation

TIMES: Final = (
    *("created_at", "should_run_at", "started_run_at", "begun_run_at", "times_out_at"),
    *("abort_requested_at", "finished_run_at", "failed_run_at", "cancelled_at"),
)
COUNTS: Final = ("attempts", "failures", "crashes", "stops")
OF_JOB: Final = (
    *("number", "operator", "started_at", "begun_at", "ended_at", "outcome"),
    *("exception_class", "fingerprint", "message"),
    *("progress_done", "progress_total", "progress_message"),
)

MASK: Final = "********"
"""What is told in place of a sensitive field's value, whatever it is."""


class Encoder(DjangoJSONEncoder):
    """Encodes the values of all columns that there are: what JSON has no word for as a text."""

    def default(self, o: Any) -> Any:
        """Return what stands for a value."""
        if isinstance(o, (bytes, bytearray, memoryview)):
            return bytes(o).hex()
        try:
            return super().default(o)
        except TypeError:
            return str(o)


def of_operation(operation: Operation) -> dict[str, Any]:
    """Return the engine's columns of an operation. No queries if its operator was selected."""
    return {
        "id": operation.pk,
        "kind": operation.kind_label,
        "state": operation.state,
        "queue": operation.queue,
        "priority": operation.priority,
        **{name: getattr(operation, name) for name in TIMES},
        **{name: getattr(operation, name) for name in COUNTS},
        "operator": None if operation.operator_id is None else str(operation.operator or "gone"),
        "unique_key": operation.unique_key,
        "reason": operation.reason,
    }


def of_job(job: OperationJob) -> dict[str, Any]:
    """Return the columns of an attempt, without its traceback and log. No queries."""
    return {name: getattr(job, name) for name in OF_JOB}


def sensitive_fields(model: type[Operation]) -> frozenset[str]:
    """Return the fields of a kind whose values are shown nowhere. No queries."""
    return frozenset(model.resolved_policy().sensitive_fields)  # type: ignore[arg-type]


def own_columns(specific: Operation) -> dict[str, Any]:
    """Return the kind's own columns of an operation, by their names, the sensitive ones masked. No
    queries.
    """
    hidden = sensitive_fields(type(specific))
    return {
        field.name: MASK if field.name in hidden else _value(specific, field.attname)
        for field in specific._meta.concrete_fields
        if field.name not in engine_names() and not field.primary_key
    }


def _value(specific: Operation, name: str) -> Any:
    value = getattr(specific, name)
    # What a file field holds in memory is more than its column.
    return value.name if isinstance(value, FieldFile) else value
