"""A text column that means the same on every database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import CharField

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    _Text = CharField[str, str]
else:
    _Text = CharField


class ExactCharField(_Text):
    """Text that is compared exactly. To the default collations of MySQL and MariaDB, "mail", "Mail"
    and "máil" are one queue; a column of this kind gets the binary one there.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        """Return what the column is made with on the database at hand."""
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            return {**parameters, "collation": "utf8mb4_bin"}
        return parameters
