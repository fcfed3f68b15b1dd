"""What is called around an attempt: the hooks of the kind, and the signals. None changes anything:
an error in one is logged, and the outcome stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.dispatch import Signal

from operator_app import log, signals
from operator_app.models import kinds
from operator_app.models.watchdog import pausing
from operator_app.outcomes import Finished
from operator_app.reports import ErrorReport

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob
    from operator_app.models.operation import Operation
    from operator_app.models.pause import Pause


def hear_of_claims(models: Iterable[type[Operation] | None]) -> set[type[Operation]]:
    """Return those of these kinds for which `claimed()` has anything to do. No queries."""
    return {
        model
        for model in models
        if model is not None
        and (kinds.overrides(model, "queued") or _is_heard(signals.operation_claimed, model))
    }


def claimed(job: OperationJob) -> None:
    """Call `queued()` and send `operation_claimed`. One query if there is somebody to hear it."""
    model = job.kind
    if model is None or not hear_of_claims([model]):
        return
    has_hook = kinds.overrides(model, "queued")
    # On the operator's main thread, which is watched; what users do takes its time.
    with pausing():
        if has_hook:
            _call("queued", job, lambda: job.load().queued())
        _send(signals.operation_claimed, model, job)


def started(job: OperationJob) -> None:
    """Send `operation_started`."""
    if job.instance is not None:
        _send(signals.operation_started, type(job.instance), job)


def has_ending_hook(job: OperationJob) -> bool:
    """Whether anybody wants to know how the job ended. No queries."""
    model = job.kind
    if model is None:
        return False
    return _ending_hook(job, model) is not None or _is_heard(signals.operation_ended, model)


def ended(job: OperationJob) -> None:
    """Call `succeeded()` or `errored()`, and send `operation_ended`."""
    model = job.kind
    if model is None:
        return
    name, outcome, error = _ending_hook(job, model), job.ending, job.error
    if name == "succeeded":
        _call(name, job, lambda: job.load().succeeded())
    elif name == "errored" and outcome is not None and error is not None:
        will_retry = not outcome.ended
        _call(name, job, lambda: job.load().errored(error, will_retry))
    _send(signals.operation_ended, model, job, outcome=outcome)


def circuit_changed(signal: Signal, pause: Pause, alias: str) -> None:
    """Send a signal of circuits, after the commit. No queries."""
    model = None if pause.kind_id is None else kinds.model_of(pause.kind_id, alias)
    if model is None or not _is_heard(signal, model):
        return
    facts = {"action": "receiver_raised", "kind": model._meta.label}

    def send() -> None:
        with pausing():
            answers = signal.send_robust(model, pause=pause)
        for listener, error in _errors(answers):
            what = f"the receiver {listener} raised {ErrorReport.of(error)}"
            log.logger.error("%s: %s.", model._meta.label, what, exc_info=error, extra=facts)

    connections[alias].on_commit(send, robust=True)


def _ending_hook(job: OperationJob, model: type[Operation]) -> str | None:
    if job.ending is None:
        return None
    if isinstance(job.ending, Finished):
        name = "succeeded"
    elif job.ending.report is not None:
        name = "errored"
    else:
        return None
    return name if kinds.overrides(model, name) else None


def _is_heard(signal: Signal, sender: type) -> bool:
    # Asked for every operation, and most projects have no receiver at all.
    return bool(signal.receivers) and signal.has_listeners(sender)


def _send(signal: Signal, sender: type, job: OperationJob, **facts: Any) -> None:
    if not _is_heard(signal, sender):
        return
    answers = signal.send_robust(sender, operation=_instance(job), job=job, **facts)
    for listener, error in _errors(answers):
        _log_error("receiver_raised", f"the receiver {listener}", job, error)


def _errors(answers: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Exception]]:
    """Yield which receivers have raised what."""
    for listener, answer in answers:
        if isinstance(answer, Exception):
            yield str(getattr(listener, "__qualname__", listener)), answer


def _instance(job: OperationJob) -> Operation:
    """Return the operation as an instance of its kind; of `Operation` if it cannot be loaded."""
    try:
        return job.load()
    except Exception:
        return job.operation


def _call(name: str, job: OperationJob, hook: Callable[[], None]) -> None:
    try:
        hook()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _log_error(f"{name}_raised", f"its hook {name}()", job, error)


def _log_error(action: str, what: str, job: OperationJob, error: BaseException) -> None:
    log.logger.error(
        "%s: %s raised %s; the outcome stands.",
        job,
        what,
        ErrorReport.of(error),
        exc_info=error,
        extra=log.facts(action, job),
    )
