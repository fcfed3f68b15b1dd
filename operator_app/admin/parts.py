"""What is a part of an operation and goes with it: its attempts and its tags."""

from __future__ import annotations

from typing import Any, Final

from operator_app.models import OperationJob, OperationTag

PARTS: Final = (OperationJob, OperationTag)


class Part:
    """The admin of a part, as far as Django asks it when an operation is to be deleted."""

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        """Whoever may delete the operation."""
        return True


class SiteOfWholes:
    """An admin site on which nobody needs a permission to delete parts, whatever their admin says.

    Args:
        site: the site that it is otherwise.
    """

    def __init__(self, site: Any) -> None:
        self._site = site

    def __getattr__(self, name: str) -> Any:
        return getattr(self._site, name)

    def get_model_admin(self, model: Any) -> Any:
        """Return the admin of a model."""
        return Part() if model in PARTS else self._site.get_model_admin(model)
