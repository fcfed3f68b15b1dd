"""An admin site with pages for some of the sample kinds."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User

from operator_app.admin import (
    EveryOperationAdmin,
    OperationAdmin,
    OperationJobAdmin,
    OperatorProcessAdmin,
    PauseAdmin,
    RecurrenceAdmin,
)
from operator_app.models import Operation, OperationJob, OperatorProcess, Pause, Recurrence
from tests.kinds.models import LongNote, Mailing, Note, RankUp, Report, Sweep, Tagged

site = AdminSite(name="kinds")
site.register(Operation, EveryOperationAdmin)
site.register(OperationJob, OperationJobAdmin)
site.register(OperatorProcess, OperatorProcessAdmin)
site.register(Recurrence, RecurrenceAdmin)
site.register(Pause, PauseAdmin)
site.register(User, UserAdmin)


@admin.register(RankUp, site=site)
class RankUpAdmin(OperationAdmin):
    list_display = [*OperationAdmin.list_display, "user", "rank"]
    search_fields = ["user__username"]
    autocomplete_fields = ["user"]


@admin.register(Note, site=site)
class NoteAdmin(OperationAdmin):
    list_display = ["id", "kind_name", "priority", "text"]
    list_editable = ["priority"]


@admin.register(Tagged, site=site)
class TaggedAdmin(OperationAdmin):
    fields = ["customer", ("queue", "priority")]


site.register([LongNote, Mailing, Sweep], OperationAdmin)


@admin.register(Report, site=site)
class ReportAdmin(OperationAdmin):
    save_as = True
