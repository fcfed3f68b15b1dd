"""The permissions of what people do to operations are made with `migrate`, for each kind."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, migrations
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.signals import post_migrate
from django.test.utils import CaptureQueriesContext

from operator_app.models import Operation, kinds, permissions
from operator_app.renames import RenameKind
from tests.kinds.models import LongNote, Note, Reported, Sweep
from tests.once import once

pytestmark = pytest.mark.django_db

DJANGOS = ("add", "change", "delete", "view")
SAMPLES = apps.get_app_config("kinds")


def codenames(model: type[Operation]) -> set[str]:
    rows = Permission.objects.filter(content_type=kinds.content_type(model, "default"))
    return set(rows.values_list("codename", flat=True))


@pytest.mark.parametrize("model", [Operation, Note, LongNote, Sweep])
def test_each_kind_has_them(model: type[Operation]) -> None:
    """Of its own, also a proxy; those of `Operation` are for all kinds."""
    name = model._meta.model_name
    assert codenames(model) == {f"{verb}_{name}" for verb in (*DJANGOS, *permissions.VERBS)}


def test_all_of_them_have_a_name_and_no_other_model_has_any() -> None:
    found = Permission.objects.filter(codename__startswith="retry_")
    models = {row.content_type.model_class(): row.name for row in found}
    assert set(models) == {Operation, *kinds.all_kinds()}
    assert models[LongNote] == "Can retry long note"


@once
def test_again_makes_nothing_and_what_is_missing_is_made() -> None:
    before = set(Permission.objects.values_list("pk", flat=True))
    with CaptureQueriesContext(connection) as captured:
        permissions.create(SAMPLES, using="default", verbosity=0)
    assert set(Permission.objects.values_list("pk", flat=True)) == before
    # Two of its own, and what content types take, however many kinds there are.
    assert len(captured) <= 4
    Permission.objects.filter(codename__in=["run_note", "abort_sweep"]).delete()
    permissions.create(SAMPLES, using="default", verbosity=0)
    assert {"run_note"} <= codenames(Note) and {"abort_sweep"} <= codenames(Sweep)
    assert Permission.objects.count() == len(before)


@once
def test_content_types_are_made_if_they_are_not_there_yet() -> None:
    """Where this app comes before `django.contrib.auth`."""
    ContentType.objects.filter(app_label="kinds", model="sweep").delete()
    permissions.create(SAMPLES, using="default", verbosity=0)
    assert codenames(Sweep) == {f"{verb}_sweep" for verb in permissions.VERBS}


@once
def test_an_app_without_kinds_costs_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        permissions.create(apps.get_app_config("sessions"), using="default")


@once
def test_a_database_without_these_tables(settings: Any, django_assert_num_queries: Any) -> None:
    settings.DATABASE_ROUTERS = [NoPermissions()]
    with django_assert_num_queries(0):
        permissions.create(SAMPLES, using="default")


class NoPermissions:
    """A router that keeps the tables of permissions out."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if app_label == "auth" else None


@once
def test_a_project_without_auth_or_half_migrated(django_assert_num_queries: Any) -> None:
    """The models as the migrations have left them: some are not there."""
    state = ProjectState()
    with django_assert_num_queries(0):
        permissions.create(SAMPLES, using="default", apps=state.apps)
    for model in (ContentType, Permission):
        state.add_model(ModelState.from_model(model))
    with django_assert_num_queries(0):
        permissions.create(SAMPLES, using="default", apps=state.apps)


class Meta:
    """What `permissions_of` looks at."""

    model_name = "fax"
    verbose_name_raw = "fax"
    default_permissions: tuple[str, ...] = DJANGOS
    permissions: ClassVar[list[tuple[str, str]]] = []


class Fax:
    """A stand-in for a kind with a `Meta` of its own."""

    _meta = Meta()


@once
def test_what_a_kind_claims_itself_is_left_to_django() -> None:
    kind = Fax()
    kind._meta = Meta()
    assert permissions.permissions_of(kind)["run_fax"] == "Can run fax"
    kind._meta.permissions = [("run_fax", "May send faxes")]
    kind._meta.default_permissions = ("view", "abort")
    assert set(permissions.permissions_of(kind)) == {"retry_fax", "cancel_fax", "pause_fax"}
    assert permissions.wants_permissions(kind)
    kind._meta.default_permissions = ()
    assert not permissions.wants_permissions(kind)


def test_an_abstract_class_in_between_is_no_kind() -> None:
    assert not Permission.objects.filter(codename__endswith=f"_{Reported.__name__.lower()}")


BROOM, SWEEP = ("kinds", "broom"), ("kinds", "sweep")


def grant_as_broom(verbs: Collection[str], content_type: ContentType) -> tuple[Group, User]:
    """Permissions of a kind that was called Broom, and a group and a user who have them."""
    group = Group.objects.create(name="cleaners")
    user = User.objects.create_user("ann")
    for verb in verbs:
        row = Permission.objects.create(
            codename=f"{verb}_broom", name=f"Can {verb} broom", content_type=content_type
        )
        group.permissions.add(row)
        user.user_permissions.add(row)
    return group, user


def allowed(group: Group) -> set[tuple[str, str]]:
    return set(group.permissions.values_list("codename", "name"))


def sweep_type() -> ContentType:
    return kinds.content_type(Sweep, "default")


EACH = (*DJANGOS, *permissions.VERBS)


@once
@pytest.mark.parametrize("are_there", [True, False], ids=["made already", "not made yet"])
def test_permissions_follow_a_kind_whose_content_type_was_renamed(are_there: bool) -> None:
    """Whoever comes first, this app or `django.contrib.auth`, which makes those of the new name."""
    if not are_there:
        Permission.objects.filter(content_type=sweep_type()).delete()
    group, user = grant_as_broom(EACH, sweep_type())
    assert permissions.carry(BROOM, SWEEP, using="default") == len(EACH)
    assert codenames(Sweep) == {f"{verb}_sweep" for verb in EACH}
    assert allowed(group) == {(f"{verb}_sweep", f"Can {verb} sweep") for verb in EACH}
    assert all(user.has_perm(f"kinds.{verb}_sweep") for verb in EACH)
    assert not Permission.objects.filter(codename__endswith="_broom").exists()
    assert permissions.carry(BROOM, SWEEP, using="default") == 0


@once
def test_permissions_follow_a_kind_whose_content_type_is_left_behind() -> None:
    """Both names were in use: who had either has the new one."""
    broom = ContentType.objects.create(app_label="kinds", model="broom")
    group, _ = grant_as_broom(["view", "retry"], broom)
    other = Group.objects.create(name="others")
    other.permissions.add(Permission.objects.get(codename="retry_sweep"))
    assert permissions.carry(BROOM, SWEEP, using="default") == 2
    assert {codename for codename, _ in allowed(group)} == {"view_sweep", "retry_sweep"}
    assert {codename for codename, _ in allowed(other)} == {"retry_sweep"}
    assert not Permission.objects.filter(content_type=broom).exists()


@once
def test_another_kind_that_has_the_old_name_now_keeps_its_own() -> None:
    before = codenames(Note)
    assert permissions.carry(("kinds", "note"), SWEEP, using="default") == 0
    assert codenames(Note) == before


@once
def test_what_the_renamed_kind_claims_itself_does_not_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Sweep._meta, "permissions", [("run_sweep", "May sweep")])
    group, _ = grant_as_broom(["run", "retry"], sweep_type())
    assert permissions.carry(BROOM, SWEEP, using="default") == 1
    assert {codename for codename, _ in allowed(group)} == {"run_broom", "retry_sweep"}


@once
def test_what_is_no_kind_has_none_to_follow(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        for new in (("auth", "group"), ("kinds", "gone")):
            assert permissions.carry(("auth", "gang"), new, using="default") == 0


@once
def test_migrate_lets_them_follow() -> None:
    """By what it has done: the plan that it tells its receivers."""

    class Renaming(migrations.Migration):
        operations: ClassVar[list[Any]] = [RenameKind("Broom", "Sweep")]

    group, _ = grant_as_broom(permissions.VERBS, sweep_type())
    post_migrate.send(
        SAMPLES,
        app_config=SAMPLES,
        verbosity=0,
        interactive=False,
        using="default",
        plan=[(Renaming("0002_sweep", "kinds"), False)],
        apps=apps,
    )
    assert {codename for codename, _ in allowed(group)} == {
        f"{verb}_sweep" for verb in permissions.VERBS
    }
