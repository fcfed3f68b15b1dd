"""Handlers for `OPERATOR["ON_FAILURE"]`: who is told, and how, that an operation failed for good.

A handler is a function of three arguments, called by a `FailureNotice`:

    def handler(operation, job, error): ...

`operation` is what failed, as an instance of its own class; `job` the `OperationJob` of its last
attempt; `error` an `ErrorReport`, with `exception_class`, `message` and `traceback`. A handler that
raises changes nothing of what failed: it is logged, and called again later.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.request import HTTPRedirectHandler, Request, build_opener

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import mail_admins as mail_to_admins

from operator_app import conf
from operator_app.reports import ErrorReport, shortened

if TYPE_CHECKING:
    from operator_app.models import Operation, OperationJob

POST_TIMEOUT: Final = 10.0
"""Seconds that each step of a POST may take: to connect, to send, to get an answer."""
SUBJECT_LIMIT: Final = 200
TEXT_LIMIT: Final = 3_000


def mail_admins(operation: Operation, job: OperationJob, error: ErrorReport) -> None:
    """Mail the failure, with its traceback and log, to `settings.ADMINS`; nothing without any.

    Set Django's EMAIL_TIMEOUT (a mailer's "timeout" from Django 6.1 on), which has no default.

    Raises:
        OSError: what the mail server makes of it.
    """
    parts = [
        f"{operation} has failed for good: {operation.reason}",
        f"Queue: {operation.queue}\nRan on: {job.operator or 'by hand'}\n"
        f"Claimed: {_moment(job.started_at)}\nEnded: {_moment(job.ended_at)}",
        error.traceback,
        job.log and f"Its log:\n{job.log}",
    ]
    # A header is one line.
    subject = " ".join(f"{operation} failed: {operation.reason}".split())
    mail_to_admins(
        subject=shortened(subject, SUBJECT_LIMIT),
        message="\n\n".join(part for part in parts if part),
    )


def post_to_slack(operation: Operation, job: OperationJob, error: ErrorReport) -> None:
    """POST {"text": ...} to `OPERATOR["SLACK_URL"]`: to Slack, or to one of many that speak so.

    Waits at most `POST_TIMEOUT` seconds for each step; follows no redirects.

    Raises:
        ImproperlyConfigured: if there is no such URL.
        OSError: if the server cannot be reached, or answers with an error (`HTTPError`).
    """
    url = conf.get().SLACK_URL
    if not url:
        raise ImproperlyConfigured("post_to_slack needs OPERATOR['SLACK_URL'], which is not set.")
    text = f"{operation} has failed for good: {operation.reason}"
    if job.operator:
        text += f" (on {job.operator})"
    body = json.dumps({"text": _escaped(shortened(text, TEXT_LIMIT))}).encode()
    headers = {"Content-Type": "application/json"}
    request = Request(url, data=body, headers=headers, method="POST")
    with build_opener(_NoRedirects).open(request, timeout=POST_TIMEOUT):
        pass


class _NoRedirects(HTTPRedirectHandler):
    """Lets a redirect be an error: following it would turn the POST into a GET, anywhere."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        """Return None, which stands for: let the answer be the error that it is."""


def _escaped(text: str) -> str:
    """Return `text` without what Slack takes for its markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _moment(moment: object) -> str:
    return "?" if moment is None else str(moment)
