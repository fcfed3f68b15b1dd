"""Answers to programs, as JSON. They read, and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django.db import router
from django.db.models import Prefetch
from django.http import HttpRequest, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from operator_app import clock, conf
from operator_app.models import Operation, OperationJob, overview
from operator_app.models.choice import Choice
from operator_app.models.facts import of_job, of_operation, own_columns
from operator_app.models.health import look

LIMIT: Final = 50
"""How many operations an answer has unless another number is asked for."""
MOST: Final = 500
"""How many it has at most."""
PERMISSION: Final = "operator_app.view_operation"

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
    """Operations, the newest first, filtered by `state`, `kind`, `queue`, `operator`, `tag` and
    `exception`; `limit` of them, with ids below `before`.
    """
    try:
        rows, is_more = _page(request, Choice(states=request.GET.getlist("state"), **_of(request)))
    except ValueError as error:
        return _problem(400, str(error))
    before = rows[-1].pk if is_more else None
    return JsonResponse({"operations": [of_operation(each) for each in rows], "before": before})


@guarded
def operation(request: HttpRequest, pk: int) -> JsonResponse:
    """One operation: its columns, why it is where it is, its attempts. Ten queries at most."""
    rows = Operation.all_objects.using(_alias()).select_related("operator")
    row = rows.filter(pk=pk).first()
    if row is None:
        return _problem(404, f"There is no operation {pk}.")
    jobs = OperationJob.objects.using(_alias()).filter(operation=pk).order_by("number")
    reasons = [{"code": each.code, "sentence": each.sentence} for each in row.explain()]
    answer = of_operation(row) | {
        "fields": own_columns(row.specific),
        "explanation": reasons,
        "attempts": [of_job(job) for job in jobs.defer("traceback", "log", "stack")],
    }
    return JsonResponse(answer)


@guarded
def failed(request: HttpRequest) -> JsonResponse:
    """Operations that have failed for good, the newest first, each with the error of its last
    attempt and its traceback; filtered as `operations()`. Two queries.
    """
    jobs = OperationJob.objects.exclude(exception_class="").order_by("number")
    try:
        choice = Choice(states=["failed"], **_of(request))
        rows, is_more = _page(request, choice, Prefetch("jobs", jobs, to_attr="errors"))
    except ValueError as error:
        return _problem(400, str(error))
    before = rows[-1].pk if is_more else None
    return JsonResponse({"operations": [_with_error(each) for each in rows], "before": before})


def _with_error(row: Operation) -> dict[str, Any]:
    errors: list[OperationJob] = getattr(row, "errors", [])
    last = errors[-1] if errors else None
    names = ("exception_class", "message", "traceback")
    return of_operation(row) | {
        "error": None if last is None else {name: getattr(last, name) for name in names}
    }


def _of(request: HttpRequest) -> dict[str, Any]:
    get = request.GET
    return {
        "kinds": get.getlist("kind"),
        "queues": get.getlist("queue"),
        "operators": get.getlist("operator"),
        "tag": get.get("tag", ""),
        "exception": get.get("exception", ""),
    }


def _page(
    request: HttpRequest, choice: Choice, *prefetch: Prefetch[Any]
) -> tuple[list[Operation], bool]:
    """Return some operations, and whether there are more.

    Raises:
        ValueError: for what there is not.
    """
    limit = min(MOST, _number(request, "limit") or LIMIT)
    rows = choice.rows(_alias()).order_by("-pk").select_related("operator")
    if (before := _number(request, "before")) is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows.prefetch_related(*prefetch)[: limit + 1])
    return found[:limit], len(found) > limit


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


def _problem(status: int, sentence: str) -> JsonResponse:
    return JsonResponse({"error": sentence}, status=status)


def _alias() -> str:
    return router.db_for_read(Operation)
