"""Fields for a date and a time, as a screen reader says them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime
from django.forms import Field
from django.utils.translation import gettext

from operator_app.admin import guard
from operator_app.admin.display import AnyModelAdmin
from operator_app.moments import as_stored


class MomentField(forms.DateTimeField):
    """A moment of a year that all databases have, as the ORM wants it: also where the text names a
    time zone and the project has none.
    """

    def to_python(self, value: Any) -> datetime | None:
        """Return the moment; None for an empty text. No queries.

        Raises:
            ValidationError: for one that is none, or before 1970 or after 9998.
        """
        moment: datetime | None = super().to_python(value)
        if moment is None:
            return None
        guard.check_moment(moment)
        return as_stored(moment)


class SpokenMoments(AnyModelAdmin):
    """Names the two boxes of a moment, which Django's own widget leaves without a label."""

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Field | None:
        """Return Django's field, with its boxes named after it. No queries."""
        field: Field | None = super().formfield_for_dbfield(db_field, request, **kwargs)
        widget = None if field is None else field.widget
        if isinstance(widget, AdminSplitDateTime):
            names = (gettext("%s, the date"), gettext("%s, the time"))
            for box, name in zip(widget.widgets, names, strict=True):
                box.attrs["aria-label"] = name % db_field.verbose_name
        return field
