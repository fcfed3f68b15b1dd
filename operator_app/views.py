"""Answers to programs, as JSON. They read, and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, Final

from django.db import router
from django.db.models import OuterRef, Prefetch, Subquery
from django.http import HttpRequest, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from operator_app import clock, conf
from operator_app.models import Operation, OperationJob, events, overview, timeline
from operator_app.models.choice import TIMES, Choice
from operator_app.models.facts import Encoder, of_job, of_operation, own_columns
from operator_app.models.health import look
from operator_app.moments import moment_of

LIMIT: Final = 50
"""How many operations an answer has unless another number is asked for."""
MOST: Final = 500
"""How many it has at most."""
PERMISSION: Final = "operator_app.view_operation"
OF_ATTEMPTS: Final = ("operator_app.view_operationjob", "operator_app.change_operationjob")
"""One of these it takes to see what attempts have left behind, as in the admin."""
OF_ERROR: Final = ("exception_class", "fingerprint", "message", "traceback")
"""What is told of the error that an operation has failed with."""

View = Callable[..., JsonResponse]


def guarded(view: View) -> View:
    """Let in whoever has the token of the settings, or is logged in as staff and may view
    operations. Everybody else gets a 401, or a 403 if another login would not help.
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> JsonResponse:
        if _has_token(request):
            return view(request, *args, **kwargs)
        user: Any = getattr(request, "user", None)  # Not there without Django's middleware.
        if user is None or not user.is_authenticated:
            answer = _problem(401, "Log in as staff, or send the token of OPERATOR['API_TOKEN'].")
            answer["WWW-Authenticate"] = 'Bearer realm="operator_app"'
            return answer
        if not (user.is_active and user.is_staff and user.has_perm(PERMISSION)):
            return _problem(403, f"This takes a member of the staff with {PERMISSION}.")
        return view(request, *args, **kwargs)

    return never_cache(require_safe(wrapper))


@guarded
def health(request: HttpRequest) -> JsonResponse:
    """Whether operations are being run: 200 if so, 503 if no operator lives or what is due is late.
    Three queries.
    """
    alias = _alias()
    found = look(alias, clock.now(alias), conf.get().LATE)
    return JsonResponse(found.facts(), status=200 if found.is_good else 503)


@guarded
def stats(request: HttpRequest) -> JsonResponse:
    """How operations are getting on: counts, queues, operators, pauses. As `overview.look()`."""
    alias = _alias()
    return JsonResponse(overview.look(alias, clock.now(alias)).facts())


@guarded
def operations(request: HttpRequest) -> JsonResponse:
    """Operations, the newest first, filtered by `state`, `kind`, `queue`, `operator`, `tag`,
    `exception`, `fingerprint`, `created_after`, `created_before` and so on; `limit` of them, with
    ids below `before`. One query, and those of `Choice.rows()`.
    """
    return _listed(request, request.GET.getlist("state"), of_operation)


@guarded
def operation(request: HttpRequest, pk: int) -> JsonResponse:
    """One operation: its columns, why it is where it is, its timeline, its latest attempts. Eleven
    queries at most. Without the attempts, and what only they tell, for who may not see these.
    """
    rows = Operation.all_objects.using(_alias()).select_related("operator")
    row = rows.filter(pk=pk).first()
    if row is None:
        return _problem(404, f"There is no operation {pk}.")
    now, sees_attempts = clock.now(_alias()), _sees_attempts(request)
    jobs = timeline.jobs_of(row) if sees_attempts else []
    pauses = timeline.pauses_of(row, now)
    told = timeline.tell(row, jobs, now, state=row.state, pauses=pauses)
    columns = of_operation(row)
    del columns["attempts"]  # The attempts themselves are under this name.
    answer = columns | {
        "fields": own_columns(row.specific),
        "explanation": _explanation(row, sees_attempts=sees_attempts),
        "timeline": [event.facts() for event in told],
    }
    if sees_attempts:
        answer["attempts"] = [of_job(job) for job in reversed(jobs)]
    return _answer(answer)


@guarded
def failed(request: HttpRequest) -> JsonResponse:
    """Operations that have failed for good, the newest first, each with the error of the last
    attempt that had one, and its traceback; filtered as `operations()`, with one query more.
    Without the errors for who may not see attempts.
    """
    if not _sees_attempts(request):
        return _listed(request, ["failed"], of_operation)
    errors = OperationJob.objects.exclude(exception_class="")
    same = errors.filter(operation=OuterRef("operation")).order_by("-number")
    last = errors.filter(number=Subquery(same.values("number")[:1])).only("operation", *OF_ERROR)
    return _listed(request, ["failed"], _with_error, Prefetch("jobs", last, to_attr="errors"))


def _with_error(row: Operation) -> dict[str, Any]:
    errors: list[OperationJob] = getattr(row, "errors", [])
    told = [{name: getattr(each, name) for name in OF_ERROR} for each in errors]
    return of_operation(row) | {"error": told[0] if told else None}


def _explanation(row: Operation, *, sees_attempts: bool) -> list[dict[str, str]]:
    """Return why it is where it is. What its last attempt said is for those who see attempts; what
    it ended with is in a column of its own.
    """
    reasons = row.explain()
    if not sees_attempts and row.state in ("scheduled", "due"):
        reasons = [each for each in reasons if each.code not in events.ENDINGS]
    return [{"code": each.code, "sentence": each.sentence} for each in reasons]


def _listed(
    request: HttpRequest,
    states: list[str],
    facts: Callable[[Operation], dict[str, Any]],
    *prefetch: Prefetch[Any],
) -> JsonResponse:
    """Return operations in these states, as the request has it, and where the next ones are."""
    try:
        rows = _choice(request, states).rows(_alias()).order_by("-pk").select_related("operator")
        limit = min(MOST, _number(request, "limit") or LIMIT)
        if (before := _number(request, "before")) is not None:
            rows = rows.filter(pk__lt=before)
    except ValueError as error:
        return _problem(400, str(error))
    found = list(rows.prefetch_related(*prefetch)[: limit + 1])
    following = found[limit - 1].pk if len(found) > limit else None
    return _answer({"operations": [facts(each) for each in found[:limit]], "before": following})


def _choice(request: HttpRequest, states: list[str]) -> Choice:
    """Return which operations the request means.

    Raises:
        ValueError: for a moment that is none.
    """
    get = request.GET
    spans = [f"{name}_{side}" for name in TIMES for side in ("after", "before")]
    moments: dict[str, Any] = {name: _moment(request, name) for name in spans}
    return Choice(
        states=states,
        kinds=get.getlist("kind"),
        queues=get.getlist("queue"),
        operators=get.getlist("operator"),
        tag=get.get("tag", ""),
        exception=get.get("exception", ""),
        fingerprint=get.get("fingerprint", ""),
        **moments,
    )


def _moment(request: HttpRequest, name: str) -> datetime | None:
    text = request.GET.get(name, "")
    if "T" in text:
        text = text.replace(" ", "+")  # The sign of an offset that was not encoded.
    try:
        return moment_of(text) if text else None
    except ValueError as error:
        raise ValueError(f"{name} {error}.") from error


def _number(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name, "")
    if text == "":
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {text!r}.")
    return int(text)


def _has_token(request: HttpRequest) -> bool:
    token = conf.get().API_TOKEN
    scheme, _space, given = request.headers.get("Authorization", "").partition(" ")
    if not token or scheme.lower() != "bearer":
        return False
    return constant_time_compare(given.strip(), token)


def _sees_attempts(request: HttpRequest) -> bool:
    """Whether the answer may tell what attempts have left behind; the token lets everything be
    seen. No queries but for the user's permissions, the first time.
    """
    if _has_token(request):
        return True
    user: Any = request.user
    return any(map(user.has_perm, OF_ATTEMPTS))


def _answer(facts: dict[str, Any]) -> JsonResponse:
    return JsonResponse(facts, encoder=Encoder)


def _problem(status: int, sentence: str) -> JsonResponse:
    return JsonResponse({"error": sentence}, status=status)


def _alias() -> str:
    return router.db_for_read(Operation)
