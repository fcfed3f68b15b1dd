"""Pausing and resuming a queue or a kind from the pages that show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.contrib.admin.models import ADDITION, CHANGE, DELETION
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import router
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import audit, permissions
from operator_app.admin.moments import MomentField
from operator_app.models import Operation, Pause
from operator_app.reports import REASON_LIMIT

PAUSE: Final = "pause"
RESUME: Final = "resume"


class PauseForm(forms.Form):
    """Why, and until when."""

    reason = forms.CharField(label=_("Reason"), max_length=REASON_LIMIT, required=False)
    until = MomentField(
        label=_("Until"),
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        zone = timezone.get_current_timezone_name()
        self.fields["until"].help_text = gettext("%s; empty: until it is resumed") % zone

    def clean_until(self) -> datetime | None:
        """Refuse what is over."""
        until: datetime | None = self.cleaned_data["until"]
        if until is not None and until <= clock.now(_alias()):
            raise ValidationError(gettext("That is over already."), code="over")
        return until


@dataclass(frozen=True)
class Scope:
    """What is paused or resumed: a queue, or a kind in all queues."""

    queue: str = ""
    kind: type[Operation] | None = None

    @property
    def field(self) -> str:
        """The name under which it is posted."""
        return "queue" if self.kind is None else "kind"

    @property
    def name(self) -> str:
        """What is posted."""
        return self.queue if self.kind is None else self.kind._meta.label


@dataclass(frozen=True)
class Control:
    """What a page shows of it: a button that resumes, or a form that pauses."""

    scope: Scope
    resumes: bool
    form: PauseForm
    is_open: bool = False
    """Whether the form is shown at once, as it was refused."""


def may_pause(request: HttpRequest, scope: Scope) -> bool:
    """Whether the user may pause and resume it. A queue has operations of any kind, and so takes
    the permission for all.
    """
    return permissions.may(request, "pause", scope.kind or Operation)


def control(
    request: HttpRequest, scope: Scope, *, resumes: bool, number: int, refused: PauseForm | None
) -> Control | None:
    """Return what is shown of one; None if the user may not do it. No queries.

    Args:
        request: whose user is asked about.
        scope: what is paused or resumed.
        resumes: whether it is paused.
        number: another one for each on a page, for the ids of the fields.
        refused: the form that was posted for this one, if it was not good.
    """
    if not may_pause(request, scope):
        return None
    form = refused or PauseForm(auto_id=f"id_{number}_%s")
    return Control(scope, resumes, form, is_open=refused is not None)


def badge(pause: Pause, words: str) -> SafeString:
    """Return a pause in a word, the rest as a tooltip. No queries."""
    name = "open" if pause.from_breaker else "paused"
    html = '<span class="operator-badge operator-{}" title="{}">{}</span>'
    return format_html(html, name, f"{pause.sentence}.", words)


def act(request: HttpRequest, scope: Scope) -> PauseForm | None:
    """Pause or resume what is posted, note it in the admin's log, and say so; return the form if it
    was refused.

    Queries as `Pause.objects.pause()` and `.resume()`, and two or three.

    Raises:
        PermissionDenied: if the user may not.
    """
    if not may_pause(request, scope):
        raise PermissionDenied
    if request.POST.get("verb") == RESUME:
        _resume(request, scope)
        return None
    form = PauseForm(request.POST, auto_id="id_posted_%s")
    if not form.is_valid():
        return form
    _pause(request, scope, **form.cleaned_data)
    return None


def _pause(request: HttpRequest, scope: Scope, reason: str, until: datetime | None) -> None:
    pauses = Pause.objects.using(_alias())
    own = pauses.of(queue=scope.queue, kind=scope.kind).filter(from_breaker=False)
    flag = CHANGE if own.exists() else ADDITION
    pause = pauses.pause(
        queue=scope.queue, kind=scope.kind, until=until, reason=reason, by=str(request.user)
    )
    audit.log_each(request, [pause], pause.sentence, flag)
    messages.success(request, f"{pause.sentence}.")


def _resume(request: HttpRequest, scope: Scope) -> None:
    pauses = Pause.objects.using(_alias())
    ended = list(pauses.of(queue=scope.queue, kind=scope.kind))
    if not ended:
        messages.warning(request, gettext("%s was not paused.") % scope.name)
        return
    audit.log_each(request, ended, gettext("Resumed."), DELETION)
    pauses.resume(queue=scope.queue, kind=scope.kind)
    messages.success(request, gettext("%s goes on.") % scope.name)


def _alias() -> str:
    return router.db_for_write(Pause)
