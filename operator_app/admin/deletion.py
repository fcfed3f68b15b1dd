"""What goes along when operations are deleted, found without reading what attempts have logged."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

from django.contrib.admin import utils
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from operator_app.admin.display import AnyModelAdmin
from operator_app.models import OperationJob
from operator_app.models.timeline import LONG_TEXTS


class Light(utils.NestedObjects):
    """Collects what would be deleted; of attempts without their long texts, which Django reads, as
    it selects the operations with them.
    """

    def related_objects(self, related_model: type[Model], *args: Any) -> QuerySet[Any]:
        """Return what goes along with some objects. No queries."""
        rows: QuerySet[Any] = super().related_objects(related_model, *args)
        return rows.defer(*LONG_TEXTS) if related_model is OperationJob else rows


def _lightly() -> Callable[..., Any]:
    """Return Django's own function, which takes no collector, with another one under the same name;
    or just as it is, where it has become something that this cannot be done with.
    """
    own = utils.get_deleted_objects
    try:
        names = vars(utils) | {"NestedObjects": Light}
        return FunctionType(own.__code__, names, argdefs=own.__defaults__)
    except (AttributeError, TypeError, ValueError):
        return own


_found: Final = _lightly()


class LightDeletion(AnyModelAdmin):
    """Shows what is to be deleted, whatever its attempts have logged."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return what Django's own method does. As many queries."""
        return _found(objs, request, self.admin_site)
