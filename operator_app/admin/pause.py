"""The pages of pauses."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import display
from operator_app.admin.kind_choice import KindForm
from operator_app.admin.moments import SpokenMoments
from operator_app.models import Pause

FROM_BREAKER: Final = ("what", "until_when", "reason", "paused_by", "since")
"""What is shown of the pause of a circuit breaker."""


@admin.register(Pause)
class PauseAdmin(SpokenMoments):
    """What is not begun for now: add a pause to let it wait, delete it to let it go on."""

    form = KindForm
    list_display = ["what", "until_when", "reason", "paused_by", "since"]
    fields = ["queue", "kind", "until", "reason"]
    ordering = ["pk"]
    list_select_related: ClassVar[list[str]] = ["circuit"]
    sortable_by: ClassVar[list[str]] = []

    class Media:
        css: ClassVar = {"all": [display.MEDIA]}

    @admin.display(description=_("what"))
    def what(self, pause: Pause) -> str:
        """What is paused."""
        return pause.what

    @admin.display(description=_("until"))
    def until_when(self, pause: Pause) -> SafeString | str:
        """When it ends by itself."""
        now = clock.now(pause._state.db or "default")
        if (circuit := pause.open_circuit) is not None:
            return gettext("a trial succeeds: %s") % circuit.outlook(now)
        if pause.until is None:
            return gettext("it is deleted")
        shown = display.moment(pause.until, now)
        return shown if pause.is_active(now) and shown else gettext("over")

    @admin.display(description=_("since"))
    def since(self, pause: Pause) -> SafeString | None:
        """Since when."""
        return display.moment(pause.created_at, clock.now(pause._state.db or "default"))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Of that of a circuit breaker: how it goes on, in place of what people would fill in."""
        if obj is not None and obj.from_breaker:
            return FROM_BREAKER
        return super().get_fields(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The same."""
        return FROM_BREAKER if obj is not None and obj.from_breaker else ()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """That of a circuit breaker is for nobody to edit: delete it, and the kind goes on."""
        if obj is not None and obj.from_breaker:
            return False
        return super().has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write it, and who wants it."""
        obj.paused_by = str(request.user)
        super().save_model(request, obj, form, change)
