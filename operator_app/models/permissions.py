"""The permissions of what people do to operations, besides those that Django makes of every model.

Made after `migrate`, as Django makes its own, and not by `Meta.default_permissions`: what a class
says there counts for that class alone, and a kind is to need no `Meta` for it.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from django.apps import apps as installed
from django.contrib.auth import get_permission_codename
from django.contrib.contenttypes.management import create_contenttypes
from django.db import router, transaction
from django.db.models import Q

VERBS: Final = ("run", "retry", "cancel", "abort", "pause")
"""What people may be allowed to do to operations of a kind, besides view, add, change, delete."""

Name: TypeAlias = tuple[str, str]
"""An app label and a model's name in lower case, as content types spell them."""


def create(app_config: Any, *, using: str, apps: Any = installed, **options: Any) -> None:
    """Insert the missing permissions of the kinds of an app, proxies included; of `Operation`
    itself, which stand for all kinds, with its own app. A receiver of `post_migrate`.

    Two queries, and an INSERT if something is missing. None for an app without kinds, and where the
    tables of permissions are not in this database or `django.contrib.auth` is not installed.

    A codename that the kind's own `Meta` claims is left to Django. A kind that wants none of
    Django's permissions (`default_permissions = ()`) gets none of these.

    Args:
        app_config: the app whose models have been migrated.
        using: the alias of the database.
        apps: the models as the migrations have left them.
        options: what else `post_migrate` tells.
    """
    try:
        permission = apps.get_model("auth", "Permission")
        content_type = apps.get_model("contenttypes", "ContentType")
        operation = apps.get_model("operator_app", "Operation")
        models = list(apps.get_app_config(app_config.label).get_models())
    except LookupError:
        return
    kinds = [each for each in models if issubclass(each, operation) and wants_permissions(each)]
    tables = (permission, content_type)
    if not kinds or not all(router.allow_migrate_model(using, each) for each in tables):
        return
    # As Django does before it makes its own: whose turn it is depends on INSTALLED_APPS.
    create_contenttypes(app_config, using=using, apps=apps, **options)
    types = content_type.objects.db_manager(using).get_for_models(*kinds, for_concrete_models=False)
    rows = permission.objects.using(using)
    there = set(
        rows.filter(content_type__in=types.values()).values_list("content_type", "codename")
    )
    rows.bulk_create(
        permission(codename=codename, name=name, content_type=types[kind])
        for kind in kinds
        for codename, name in permissions_of(kind).items()
        if (types[kind].pk, codename) not in there
    )


def carry(old: Name, new: Name, *, using: str, apps: Any = installed) -> int:
    """Let whoever was allowed something with operations of a kind's old name be allowed it with
    those of its new one. Return how many permissions went along.

    A permission of the old name gets the new name; if that is there already, since Django has just
    made it or because both names were in use, whoever had the old one gets it, and the old one
    goes. Those that the kind's own `Meta` names are left alone.

    Two queries if there are none of the old name; else one or, where both are there, some five for
    each.

    Args:
        old: the app and the model's name in lower case, as content types spell them.
        new: what it is called now.
        using: the alias of the database.
        apps: the models as the migrations have left them.
    """
    try:
        permission = apps.get_model("auth", "Permission")
        content_type = apps.get_model("contenttypes", "ContentType")
        kind = apps.get_model(*new)
        operation = apps.get_model("operator_app", "Operation")
    except LookupError:
        return 0
    tables = (permission, content_type)
    if not issubclass(kind, operation) or not all(
        router.allow_migrate_model(using, each) for each in tables
    ):
        return 0
    types = content_type.objects.using(using)
    of_new = types.filter(app_label=new[0], model=new[1]).first()
    if of_new is None:
        return 0
    names = {f"{verb}_{old[1]}": verb for verb in (*kind._meta.default_permissions, *VERBS)}
    has_them = Q(content_type=of_new)
    # The content type was renamed, or is left behind; unless another model has the old name now.
    if not _is_model(apps, old):
        has_them |= Q(content_type__in=types.filter(app_label=old[0], model=old[1]).values("pk"))
    found = list(permission.objects.using(using).filter(has_them, codename__in=names))
    wanted = _djangos(kind) | permissions_of(kind)
    carried = 0
    with transaction.atomic(using=using):
        for row in found:
            codename = get_permission_codename(names[row.codename], kind._meta)
            if codename in wanted and (codename, of_new.pk) != (row.codename, row.content_type_id):
                _rename(row, codename, wanted[codename], of_new, using)
                carried += 1
    return carried


def _is_model(apps: Any, name: Name) -> bool:
    try:
        apps.get_model(*name)
    except LookupError:
        return False
    return True


def _djangos(kind: Any) -> dict[str, str]:
    meta = kind._meta
    return {
        get_permission_codename(verb, meta): f"Can {verb} {meta.verbose_name_raw}"
        for verb in meta.default_permissions
    }


def _rename(row: Any, codename: str, name: str, content_type: Any, using: str) -> None:
    """Give a permission another name, or whoever has it that of this name."""
    rows = type(row).objects.using(using)
    there = rows.filter(content_type=content_type, codename=codename).first()
    if there is None:
        row.codename, row.name, row.content_type = codename, name, content_type
        row.save(using=using, update_fields=["codename", "name", "content_type"])
        return
    # Groups, users, and whatever else of the project has permissions.
    for relation in row._meta.related_objects:
        if relation.many_to_many:
            accessor = relation.get_accessor_name()
            who = getattr(row, accessor).using(using).values_list("pk", flat=True)
            getattr(there, accessor).add(*who)
    row.delete(using=using)


def permissions_of(kind: Any) -> dict[str, str]:
    """Return the names of the permissions of a kind by their codenames, but for those that its own
    `Meta` claims. No queries.
    """
    meta = kind._meta
    claimed = {codename for codename, _name in meta.permissions}
    claimed |= {get_permission_codename(verb, meta) for verb in meta.default_permissions}
    # In English, as Django's: they are stored.
    named = {
        get_permission_codename(verb, meta): f"Can {verb} {meta.verbose_name_raw}" for verb in VERBS
    }
    return {codename: name for codename, name in named.items() if codename not in claimed}


def wants_permissions(kind: Any) -> bool:
    """Whether the `Meta` of a kind lets permissions be made. No queries."""
    return bool(kind._meta.default_permissions)
