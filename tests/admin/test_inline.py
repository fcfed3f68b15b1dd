"""Operations on the page of the object that they are about."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection, models
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext, isolate_apps

from operator_app import Policy, clock
from operator_app.admin import OperationInline
from operator_app.models.facts import MASK
from tests.admin import site as pages
from tests.admin.conftest import STATES, in_state, put
from tests.admin.test_pages import page_of, shown, text
from tests.kinds.models import LongNote, Mailing, Note, RankUp
from tests.once import once

pytestmark = [pytest.mark.django_db, once]


class RankUps(OperationInline):
    model = RankUp


class EveryRankUp(RankUps):
    with_ended = True
    verbose_name_plural = "all promotions"
    fields = ("link", "state_badge", "rank", "user", "shout")

    @admin.display(description="shouted")
    def shout(self, operation: RankUp) -> str:
        return operation.rank.upper()


class Mailings(OperationInline):
    model = Mailing
    fk_name = "sender"
    fields = ("link", "token", "tone")


@pytest.fixture
def inlines(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the page of a user has."""
    found: list[Any] = [RankUps]
    monkeypatch.setattr(pages.site.get_model_admin(User), "inlines", found)
    return found


def group(response: Any, model: str = "rankup") -> str:
    page = text(response)
    found = re.search(rf'id="{model}_set-group".*?</section>', page, re.DOTALL)
    return found[0] if found else ""


def rows(found: str) -> list[list[str]]:
    body = found.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in body.split("</tr>")[:-1]]


def test_what_has_not_ended_is_shown(boss: Client, inlines: Any) -> None:
    ann, bob = User.objects.create_user("ann"), User.objects.create_user("bob")
    made = {state: in_state(state, RankUp, user=ann) for state in STATES}
    in_state("due", RankUp, user=bob)
    found = group(boss.get(page_of(ann)))
    open_ones = [made[state] for state in ("stuck", "running", "due", "scheduled")]
    assert [row[0] for row in rows(found)] == [
        f'<a href="{page_of(each)}">kinds.RankUp #{each.pk}</a>' for each in open_ones
    ]
    for row, each in zip(rows(found), open_ones, strict=True):
        assert f"operator-{each.state}" in row[1] and "<time" in row[2] and row[3] == "1 of 3"
    everything = re.search(r'href="([^"]*user__exact[^"]*)"', found)
    assert everything and shown(boss.get(everything[1])) == {row.pk for row in made.values()}
    assert "<th scope=" in found and "are shown" not in found


def test_all_of_them_with_columns_of_ones_own(boss: Client, inlines: Any) -> None:
    inlines[:] = [EveryRankUp]
    ann = User.objects.create_user("ann<b>")
    for state in STATES:
        in_state(state, RankUp, user=ann, rank="Expert<i>")
    found = group(boss.get(page_of(ann)))
    assert len(rows(found)) == len(STATES)
    assert "All promotions" in found and '<th scope="col">Shouted</th>' in found
    assert rows(found)[0][2:] == ["Expert&lt;i&gt;", "ann&lt;b&gt;", "EXPERT&lt;I&gt;"]


def test_none(boss: Client, inlines: Any) -> None:
    ann = User.objects.create_user("ann")
    assert "None that has not ended." in group(boss.get(page_of(ann)))
    text(boss.get("/kinds/auth/user/add/"))


def test_the_number_is_capped(boss: Client, inlines: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(RankUps, "shown", 2)
    ann = User.objects.create_user("ann")
    made = [in_state("due", RankUp, user=ann) for _ in range(3)]
    found = group(boss.get(page_of(ann)))
    assert len(rows(found)) == 2 and "The newest 2 are shown." in found
    assert f"#{made[0].pk}<" not in found


def test_one_of_several_foreign_keys_and_masked_columns(boss: Client, inlines: Any) -> None:
    inlines[:] = [Mailings]
    ann = User.objects.create_user("ann")
    mailing = Mailing.dispatch(sender=ann, token="hush-4711")
    Mailing.dispatch(token="hush-4711").receivers.add(ann)
    page = text(boss.get(page_of(ann)))
    assert "hush-4711" not in page
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    assert body.count("<tr>") == 1
    assert f"#{mailing.pk}</a>" in body and MASK in body and "Warm words" in body


def test_the_kind_of_the_row_decides_what_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a subclass of that of the inline."""

    class Notes(OperationInline):
        model = Note
        fields = ("text", "priority")

    monkeypatch.setattr(LongNote, "policy", Policy(sensitive_fields=["text"]))
    note = in_state("due", Note, text="open")
    long = Note.all_objects.get(pk=in_state("due", LongNote, text="hush-4711").pk)
    found = [Notes(User, pages.site).cells(each) for each in (note, long)]
    assert found == [["open", "0"], [MASK, "0"]]


def saved(client: Client, user: User, **more: Any) -> Any:
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "12:00:00"}
    values = {"username": user.username, "first_name": "Ann", **joined, **more}
    return client.post(page_of(user), values)


def test_the_object_is_saved_whatever_operators_do_meanwhile(boss: Client, inlines: Any) -> None:
    ann = User.objects.create_user("ann")
    operation = in_state("due", RankUp, user=ann, rank="Expert")
    page = boss.get(page_of(ann))
    assert "rankup_set-TOTAL_FORMS" not in text(page)
    put(operation, started_run_at=clock.now(), finished_run_at=clock.now())
    tampered = {
        "rankup_set-TOTAL_FORMS": "1",
        "rankup_set-INITIAL_FORMS": "1",
        "rankup_set-0-operation_ptr": operation.pk,
        "rankup_set-0-rank": "Owner",
        "rankup_set-0-DELETE": "on",
    }
    for more in ({}, tampered):
        assert saved(boss, ann, **more).status_code == 302
        ann.refresh_from_db()
        operation.refresh_from_db()
        assert (ann.first_name, operation.rank) == ("Ann", "Expert")
    # With an error in the form the rows are shown as before.
    in_state("due", RankUp, user=ann)
    assert len(rows(group(saved(boss, ann, username="")))) == 1


def test_they_are_for_those_who_may_view_the_kind(
    staff: Callable[..., Client], inlines: Any
) -> None:
    ann = User.objects.create_user("ann")
    in_state("due", RankUp, user=ann)
    for given, expected in [
        (("view_user",), False),
        (("view_user", "view_note"), False),
        (("view_user", "view_rankup"), True),
        (("change_user", "view_rankup"), True),
        (("view_user", "view_operation"), True),
    ]:
        found = group(staff(*given).get(page_of(ann)))
        assert bool(found) is expected, given
        assert ("user__exact" in found) is expected, given
    client = staff("change_user", "view_rankup")
    assert saved(client, ann).status_code == 302


def test_one_query_however_many_there_are(boss: Client, inlines: Any) -> None:
    inlines[:] = [EveryRankUp]
    ann = User.objects.create_user("ann")

    for state in STATES:
        in_state(state, RankUp, user=ann)
    with CaptureQueriesContext(connection) as captured:
        text(boss.get(page_of(ann)))
    [rows_of_ann] = [query["sql"] for query in captured if "kinds_rankup" in query["sql"]]
    assert rows_of_ann.endswith(f"LIMIT {EveryRankUp.shown + 1}")
    with CaptureQueriesContext(connection) as captured:
        text(boss.get(page_of(ann)))
    few = len(captured)
    for state in STATES[:2]:
        in_state(state, RankUp, user=ann)
    with CaptureQueriesContext(connection) as captured:
        text(boss.get(page_of(ann)))
    assert len(captured) == few


def test_without_pages_of_the_kind_it_leads_to_those_of_all(boss: Client, inlines: Any) -> None:
    ann = User.objects.create_user("ann")
    operation = in_state("due", RankUp, user=ann)
    pages.site.unregister(RankUp)
    try:
        found = group(boss.get(page_of(ann)))
    finally:
        pages.site.register(RankUp, pages.RankUpAdmin)
    assert f'href="/kinds/operator_app/operation/{operation.pk}/change/"' in found
    assert "user__exact" not in found


def test_all_of_them_by_a_foreign_key_to_another_column(
    boss: Client, rf: RequestFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from operator_app.models import Operation

    with isolate_apps("tests.kinds"):

        class RankUp(Operation):
            operation_ptr = models.OneToOneField(
                Operation, models.CASCADE, parent_link=True, related_name="+"
            )
            user = models.ForeignKey(User, models.CASCADE, to_field="username", related_name="+")

            class Meta:
                app_label = "kinds"

    class Inline(OperationInline):
        model = RankUp

    monkeypatch.setitem(pages.site._registry, RankUp, pages.OperationAdmin(RankUp, pages.site))
    request = rf.get("/")
    request.user = ann = User.objects.create_superuser("ann")
    found = Inline(User, pages.site).list_of(request, "user", ann)
    assert found == "/kinds/kinds/rankup/?user__exact=ann"
    assert Inline(User, pages.site).list_of(request, "user", User()) is None


def test_no_list_by_a_foreign_key_that_is_masked(
    boss: Client, inlines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inlines[:] = [Mailings]
    ann = User.objects.create_user("ann")
    Mailing.dispatch(sender=ann)
    assert "sender__exact" in text(boss.get(page_of(ann)))
    monkeypatch.setattr(Mailing, "policy", Policy(sensitive_fields=["sender"]))
    assert "sender__exact" not in text(boss.get(page_of(ann)))


def test_the_checks_of_django_pass_and_find_what_is_wrong() -> None:
    from django.contrib.auth.admin import UserAdmin

    class Good(UserAdmin):
        inlines = [RankUps, EveryRankUp, Mailings]

    assert [m for m in Good(User, pages.site).check() if "fields" not in str(m.id)] == []

    with isolate_apps("tests.kinds"):

        class Bad(UserAdmin):
            inlines = [type("Notes", (OperationInline,), {"model": pages.Note})]

        assert [message.id for message in Bad(User, pages.site).check()] == ["admin.E202"]
