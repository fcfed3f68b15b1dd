"""Who may do what: each verb with each permission, from the list, from the page, and by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin import ModelAdmin
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from operator_app import clock
from operator_app.admin import EveryOperationAdmin, OperationJobAdmin, permissions
from operator_app.models import Operation, OperationJob, OperationTag
from tests.admin.conftest import STATES, in_state
from tests.admin.site import NoteAdmin, site
from tests.admin.test_actions import after, base, choose, sure
from tests.admin.test_pages import LIST, page_of, shown, text
from tests.kinds.models import LongNote, Mailing, Note, Report, Sweep, Tagged
from tests.once import once

pytestmark = [pytest.mark.django_db, once]

REPORTS = "/kinds/kinds/report/"

ACTIONS = {
    "run_selected_now": ("run", "scheduled"),
    "reschedule_selected": ("change", "due"),
    "retry_selected": ("retry", "failed"),
    "cancel_selected": ("cancel", "due"),
    "abort_selected": ("abort", "running"),
    "release_selected": ("retry", "stuck"),
    "delete_selected": ("delete", "finished"),
}
"""Which permission an action takes, and a state that it changes."""
BUTTONS = set(ACTIONS) - {"reschedule_selected", "delete_selected"}

WHEN = {"when": "2099-01-01T12:00"}


def request_of(*codenames: str) -> Any:
    """A request of somebody with these permissions."""
    from django.contrib.auth.models import Permission

    user = User.objects.create_user("somebody")
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    request = RequestFactory().get("/")
    request.user = User.objects.get(pk=user.pk)
    return request


def rows() -> list[Any]:
    return list(Operation.all_objects.order_by("pk").values())


@pytest.mark.parametrize("verb", permissions.VERBS)
def test_of_a_kind_or_of_all_kinds(verb: str) -> None:
    request = request_of(f"{verb}_note")
    assert permissions.may(request, verb, Note)
    # A kind covers those below it, as `Operation` does.
    assert permissions.may(request, verb, LongNote)
    assert not permissions.may(request, verb, Report)
    assert not permissions.may(request, verb, Operation)
    assert permissions.may_some(request, verb, Operation)
    assert not permissions.may_some(request, verb, Report)
    others = set(permissions.VERBS) - {verb} - ({"view"} if verb == "change" else set())
    assert not any(permissions.may(request, other, Note) for other in others)


@pytest.mark.parametrize("verb", permissions.VERBS)
def test_of_all_kinds(verb: str) -> None:
    request = request_of(f"{verb}_operation")
    assert all(permissions.may(request, verb, kind) for kind in (Operation, Note, Sweep))
    assert permissions.kinds_allowed(request, verb, Operation, "default") is None


def test_the_user_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a page asks: a backend of permissions may be slow."""
    request = request_of()
    asked: list[str] = []

    def has_perm(user: User, name: str, obj: object = None) -> bool:
        asked.append(name)
        return name == "kinds.run_note"

    monkeypatch.setattr(User, "has_perm", has_perm)
    for first in (True, False):
        assert permissions.may_some(request, "run", Operation)
        assert permissions.may(request, "run", LongNote)
        assert not permissions.may(request, "run", Report)
        assert bool(asked) == first
        asked.clear()


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("address", [LIST, REPORTS])
@pytest.mark.parametrize(
    "held", ["view", "add", "change", "delete", "run", "retry", "cancel", "abort"]
)
def test_every_action_with_every_permission(
    staff: Callable[..., Client], held: str, address: str, every: bool
) -> None:
    """An action is offered and works with its permission, of the kind or of all kinds; without it
    there is neither an action nor a button, and what is posted by hand is refused.
    """
    name = "operation" if every else "report"
    client = staff(f"view_{name}", f"{held}_{name}" if held != "view" else f"view_{name}")
    in_state("due", Report)  # so that the list is not empty
    listed = text(client.get(address))
    for action, (permission, state) in ACTIONS.items():
        operation = in_state(state, Report)
        offered = f'value="{action}"' in listed
        row: Any = operation if address == REPORTS else base(operation)
        page = text(client.get(page_of(row)))
        assert offered == (permission == held), action
        assert (f'value="{action}"' in page) == (offered and action in BUTTONS), action
        before = rows()
        posts = [choose(action, operation, _from_page=1), choose(action, operation)]
        posts += [sure(action, operation, **WHEN, post="yes")]
        posts += [sure(action, operation, select_across=1, **WHEN)]
        for posted in posts:
            answer = client.post(address, posted)
            if not offered:
                assert answer.status_code == 403 and rows() == before, action
        assert offered == (rows() != before), action
        Operation.all_objects.filter(pk__gt=before[0]["id"]).delete()


def test_kinds_that_are_not_mine_are_left_alone(staff: Callable[..., Client]) -> None:
    made = {"note": in_state("due", Note), "report": in_state("due", Report)}
    client = staff("view_operation", "cancel_report")
    posted = sure("cancel_selected", *made.values())
    page = client.post(LIST, posted, follow=True)
    assert [str(message) for message in page.context["messages"]] == [
        "1 operation was cancelled.",
        "1 operation was left alone: it is of a kind that you may not do this to.",
    ]
    assert after(made) == {"note": "due", "report": "cancelled"}
    asked = text(client.post(LIST, choose("cancel_selected", *made.values())))
    assert "1 more is of a kind that you may not do this to" in asked


def test_deletion_of_kinds_that_are_not_mine(staff: Callable[..., Client]) -> None:
    note, report = in_state("failed", Note), in_state("failed", Report)
    client = staff("view_operation", "delete_report")
    for across in ({}, {"select_across": 1}):
        client.post(LIST, sure("delete_selected", note, post="yes", **across), follow=True)
        assert Operation.all_objects.filter(pk=note.pk).exists()
    client.post(LIST, sure("delete_selected", note, report, post="yes"), follow=True)
    assert [row.pk for row in Operation.all_objects.all()] == [note.pk]


@pytest.mark.parametrize("name", ["tag", "job"])
def test_what_is_only_called_like_a_part_takes_its_own_permission(
    staff: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A project's own tags, say."""
    theirs: Any = Mailing.receivers.through
    monkeypatch.setattr(theirs._meta, "verbose_name", name)
    monkeypatch.setitem(site._registry, theirs, ModelAdmin(theirs, site))
    mailing = in_state("failed", Mailing)
    mailing.receivers.add(User.objects.create_user("ann"))  # type: ignore[attr-defined]
    client = staff("view_mailing", "delete_mailing")
    address = "/kinds/kinds/mailing/"
    posted = sure("delete_selected", mailing, post="yes")
    delete = page_of(mailing).replace("change", "delete")
    assert client.post(delete, {"post": "yes"}).status_code == 403
    assert client.post(address, posted).status_code == 403
    client.post(address, {**posted, "select_across": 1}, follow=True)
    assert theirs.objects.count() == 1


@pytest.mark.parametrize("pages", [OperationJobAdmin, ModelAdmin])
def test_parts_go_along_without_a_permission_of_their_own(
    staff: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, pages: Any
) -> None:
    """Whatever the admin says that a site has for them."""
    for model in (OperationJob, OperationTag):
        monkeypatch.setitem(site._registry, model, pages(model, site))
    client = staff("view_tagged", "delete_tagged")
    made = [in_state("failed", Tagged) for _ in range(2)]
    for each in made:
        OperationJob.objects.create(operation=each, number=1, started_at=clock.now())
    assert OperationTag.objects.count() >= 2
    delete = page_of(made[0]).replace("change", "delete")
    page = text(client.get(delete))
    assert "lacks" not in page and "your account doesn" not in page
    assert client.post(delete, {"post": "yes"}).status_code == 302
    client.post("/kinds/kinds/tagged/", sure("delete_selected", made[1], post="yes"))
    assert not OperationJob.objects.exists() and not OperationTag.objects.exists()


def test_the_list_of_all_kinds_shows_what_may_be_viewed(
    staff: Callable[..., Client], gone: Operation
) -> None:
    report, note = in_state("due", Report), in_state("failed", Note)
    client = staff("view_report")
    page = client.get(LIST)
    assert shown(page) == {report.pk}
    listed = text(page)
    assert "kinds.Note" not in listed and "oldshop" not in listed and "notes" not in listed
    tabs = {tab.state: str(tab.number) for tab in page.context["cl"].tabs}
    assert tabs == dict.fromkeys([*STATES, "all"], "0") | {"due": "1", "all": "1"}
    assert client.get(page_of(base(note))).status_code == 302
    assert client.get(page_of(base(report))).status_code == 200
    assert client.get("/kinds/kinds/note/").status_code == 403
    assert shown(staff("view_operation").get(LIST)) == {report.pk, note.pk, gone.pk}
    assert shown(staff("change_note").get(LIST)) == {note.pk}


def test_the_attempts_of_all_kinds_are_those_of_kinds_that_may_be_viewed(
    staff: Callable[..., Client], gone: Operation
) -> None:
    made = [in_state("failed", Note), in_state("failed", Report), gone]
    jobs = [
        OperationJob.objects.create(operation=each, number=1, started_at=clock.now(), log="hush")
        for each in made
    ]
    address = "/kinds/operator_app/operationjob/"
    for given, expected in [
        (["view_note"], jobs[:1]),
        (["view_report", "change_longnote"], jobs[1:2]),
        (["view_operation"], jobs),
        ([], []),
    ]:
        client = staff("view_operationjob", *given)
        assert shown(client.get(address)) == {job.pk for job in expected}
        assert shown(client.get(address, {"q": made[1].pk})) <= {job.pk for job in expected}
        for job in jobs:
            for view in ("change", "history"):
                answer = client.get(page_of(job).replace("change", view))
                assert (answer.status_code == 200) == (job in expected)


@pytest.mark.parametrize("verb", ["change", "abort"])
def test_a_stack_is_asked_for_where_the_kind_of_the_row_may_be(
    staff: Callable[..., Client], verb: str
) -> None:
    """On the pages of a base class, too."""
    note, long = in_state("running", Note), in_state("running", LongNote)
    client = staff("view_note", f"{verb}_longnote", "view_operationjob")
    for row, allowed in [(note, False), (long, True)]:
        for page in (page_of(Note.objects.get(pk=row.pk)), page_of(base(row))):
            assert ("Ask for its stack" in text(client.get(page))) == allowed
            answer = client.post(page.replace("change", "stack"))
            assert answer.status_code == (302 if allowed else 403)
        assert (base(row).stack_requested_at is not None) == allowed


def test_the_index_shows_what_may_be_viewed(staff: Callable[..., Client]) -> None:
    page = text(staff("view_report").get("/kinds/"))
    assert f'href="{LIST}"' in page and f'href="{REPORTS}"' in page
    assert "/kinds/kinds/note/" not in page
    page = text(staff("view_operation").get("/kinds/"))
    assert f'href="{LIST}"' in page and f'href="{REPORTS}"' in page
    page = text(staff("view_user").get("/kinds/"))
    assert LIST not in page and REPORTS not in page


def test_editing_takes_change(staff: Callable[..., Client]) -> None:
    report = in_state("due", Report)
    for codename, status in (("run_report", 403), ("change_report", 200)):
        client = staff("view_report", codename)
        assert client.post(page_of(report), {}).status_code == status
    assert staff("add_report", "view_report").get(f"{REPORTS}add/").status_code == 200
    assert staff("change_report").get(f"{REPORTS}add/").status_code == 403


def listed(*rows: Operation, **values: Any) -> dict[str, Any]:
    """What the form of a list posts."""
    posted: dict[str, Any] = {
        "form-TOTAL_FORMS": len(rows),
        "form-INITIAL_FORMS": len(rows),
        "_save": "Save",
    }
    for number, row in enumerate(rows):
        posted[f"form-{number}-{row._meta.pk.name}"] = row.pk
        posted |= {f"form-{number}-{name}": value for name, value in values.items()}
    return posted


@pytest.mark.parametrize("address", ["/kinds/kinds/note/", LIST])
def test_a_list_is_edited_where_the_kind_of_the_row_may_be(
    staff: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(EveryOperationAdmin, "list_editable", ["priority"])
    made = in_state("due", Note), in_state("due", LongNote)
    # The newest first, as the list has them.
    note, long = (base(row) if address == LIST else Note.objects.get(pk=row.pk) for row in made)
    client = staff("view_note", "change_longnote")
    cells = re.findall(r"<input[^>]* name=\"form-\d+-priority\"[^>]*>", text(client.get(address)))
    # From 6.1 on Django leaves out the cell that is of no use.
    (cell,) = [cell for cell in cells if "disabled" not in cell]
    assert "form-0-priority" in cell
    for rows in ([long, note], [note]):
        assert client.post(address, listed(*rows, priority=77)).status_code in (200, 302)
    assert base(note).priority == 0
    assert base(long).priority == 77


def test_a_row_that_may_not_be_edited_is_not_saved(
    staff: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though an admin has a rule of its own, which its list does not know."""

    def has_change_permission(pages: Any, request: Any, obj: Any = None) -> bool:
        mine = super(NoteAdmin, pages).has_change_permission(request, obj)
        return mine and (obj is None or obj.text != "theirs")

    monkeypatch.setattr(NoteAdmin, "has_change_permission", has_change_permission, raising=False)
    mine, theirs = in_state("due", text="mine"), in_state("due", text="theirs")
    client = staff("change_note")
    posted = listed(theirs, mine, priority=77)
    # A Django that knows of it, as 6.1, passes over what may not be edited, and saves the rest.
    status = client.post("/kinds/kinds/note/", posted).status_code
    assert status in (302, 403)
    assert base(theirs).priority == 0 and base(mine).priority == (77 if status == 302 else 0)
    assert client.post("/kinds/kinds/note/", listed(mine, priority=77)).status_code == 302
    assert base(mine).priority == 77
