"""What is sensitive is masked on every page, whatever a subclass arranges; the rows keep it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.filters import AllValuesFieldListFilter
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path

from operator_app import Policy, clock
from operator_app.admin import EveryOperationAdmin, OperationAdmin
from operator_app.admin.filters import QueueFilter
from operator_app.models import Operation
from operator_app.models.facts import MASK, own_columns
from tests import urls
from tests.admin import site as kinds_site
from tests.admin.conftest import STATES, in_state
from tests.admin.test_forms import errors, form, moment
from tests.admin.test_pages import LIST, page_of, shown, text
from tests.kinds.models import LongNote, Mailing, Note, QuickNote, RankUp
from tests.once import once

pytestmark = [pytest.mark.django_db, once]

SECRET = "hush-4711"


class MailingForm(forms.ModelForm):  # type: ignore[type-arg]
    token = forms.CharField(max_length=50)
    shout = forms.BooleanField(required=False)

    class Meta:
        model = Mailing
        fields = "__all__"  # noqa: DJ007

    def clean_options(self) -> Any:
        if self.cleaned_data["options"] == {"heating": True}:
            raise forms.ValidationError("It is warm in here.")
        return self.cleaned_data["options"]


class Careless(OperationAdmin):
    """Names what is sensitive wherever it can."""

    form = MailingForm
    list_display = ["id", "token", "tone"]
    list_editable = ["token", "tone"]
    fieldsets = [
        ("Words", {"fields": [("tone", "token"), "options"]}),
        ("Who", {"fields": ["sender", "receivers", "attachment"]}),
    ]

    def get_fieldsets(self, request: Any, obj: Any = None) -> Any:
        return [*self.fieldsets, *super().get_fieldsets(request, obj)[2:]]


class Plain(OperationAdmin):
    """Arranges nothing."""


def site_of(pages: type[OperationAdmin]) -> AdminSite:
    site = AdminSite(name=pages.__name__.lower())
    site.register(Mailing, pages)
    site.register(Operation, EveryOperationAdmin)
    site.register(User, UserAdmin)
    return site


# Addresses keep the admin that they were made of.
urlpatterns = [
    *urls.urlpatterns,
    *(path(f"{each.__name__.lower()}/", site_of(each).urls) for each in (Careless, Plain)),
]


@pytest.fixture(params=["careless", "plain"])
def site(request: Any, settings: Any) -> str:
    """The name of a site, which begins its addresses."""
    settings.ROOT_URLCONF = __name__
    return str(request.param)


@pytest.fixture
def mailings(site: str) -> str:
    """The address of the list of mailings."""
    return f"/{site}/kinds/mailing/"


@pytest.fixture
def page(site: str) -> Callable[[Any], str]:
    """The address of the page of a row."""
    return lambda row: page_of(row).replace("/kinds/", f"/{site}/", 1)


def base(operation: Operation) -> Operation:
    return Operation.all_objects.get(pk=operation.pk)


@pytest.mark.parametrize("state", STATES)
def test_no_page_shows_it(
    boss: Client,
    staff: Callable[..., Client],
    mailings: str,
    page: Callable[[Any], str],
    state: str,
) -> None:
    mailing = in_state(state, Mailing, token=SECRET)
    viewer = staff("view_mailing", "view_operation")
    for client in (boss, viewer):
        for row in (mailing, base(mailing)):
            shown = text(client.get(page(row)))
            assert SECRET not in shown and MASK in shown
            assert 'name="token"' not in shown
        assert SECRET not in text(client.get(page(mailing).replace("change", "history")))
        listed = text(client.get(mailings))
        assert SECRET not in listed
        assert (MASK in listed) is ("careless" in mailings)


def test_saving_keeps_it(boss: Client, page: Callable[[Any], str]) -> None:
    mailing = in_state("scheduled", Mailing, token=SECRET)
    for token in ({}, {"token": "guessed"}):
        values = form(mailing, tone="cold", options="{}", **token)
        assert boss.post(page(mailing), values).status_code == 302
        mailing.refresh_from_db()
        assert (mailing.tone, mailing.token) == ("cold", SECRET)
        mailing.tone = "warm"
        mailing.save()


def test_a_form_with_errors_does_not_show_it(boss: Client, page: Callable[[Any], str]) -> None:
    mailing = in_state("scheduled", Mailing, token=SECRET)
    for values in ({"options": "{"}, {"options": "{}", "priority": "x"}):
        shown = text(boss.post(page(mailing), form(mailing, tone="cold", **values)))
        assert SECRET not in shown and MASK in shown and 'name="token"' not in shown


def test_it_is_typed_in_where_one_is_added(boss: Client, mailings: str) -> None:
    assert 'name="token"' in text(boss.get(f"{mailings}add/"))
    values = {"tone": "warm", "options": "{}", "token": SECRET, "queue": "", "priority": ""}
    assert boss.post(f"{mailings}add/", values | moment(clock.now())).status_code == 302
    assert Mailing.objects.get().token == SECRET


def test_the_list_cannot_be_used_to_change_it(boss: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    mailing = in_state("due", Mailing, token=SECRET)
    values = {
        "form-TOTAL_FORMS": 1,
        "form-INITIAL_FORMS": 1,
        "form-0-operation_ptr": mailing.pk,
        "form-0-tone": "cold",
        "form-0-token": "guessed",
        "_save": "Save",
    }
    assert boss.post("/careless/kinds/mailing/", values).status_code == 302
    mailing.refresh_from_db()
    assert (mailing.tone, mailing.token) == ("cold", SECRET)


def test_what_an_admin_adds(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the pages of the kind, and on that of all kinds; nowhere else."""
    note = in_state("due", text=SECRET)
    assert SECRET in text(boss.get(page_of(note)))
    monkeypatch.setattr(kinds_site.NoteAdmin, "sensitive_fields", ["text"])
    for row in (note, base(note)):
        page = text(boss.get(page_of(row)))
        assert SECRET not in page and MASK in page
    assert SECRET not in text(boss.get("/kinds/kinds/note/"))
    assert own_columns(note) == {"text": SECRET}


def test_the_kind_of_the_row_decides_on_the_page_of_its_base(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = in_state("due", QuickNote, text=SECRET)
    note = Note.all_objects.get(pk=quick.pk)
    monkeypatch.setattr(QuickNote, "policy", Policy(sensitive_fields=["text"]))
    assert SECRET not in text(boss.get(page_of(note)))
    assert SECRET in text(boss.get(page_of(in_state("due", text=SECRET))))


def test_values_for_programs_and_terminals_are_masked() -> None:
    mailing = Mailing.dispatch(token=SECRET)
    assert own_columns(mailing)["token"] == MASK
    assert mailing.token == SECRET


def test_a_name_that_is_no_field_is_an_error() -> None:
    class Odd(OperationAdmin):
        sensitive_fields = ["txt", "text"]

    found = Odd(Note, AdminSite()).check()
    assert [message.id for message in found] == ["operator_app.E016"]
    assert "'txt'" in found[0].msg
    assert Careless(Mailing, AdminSite()).check() == []


# Fields of every sort can be changed while they are pending


def test_every_sort_of_field_is_edited(
    boss: Client, page: Callable[[Any], str], tmp_path: Any
) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django.test import override_settings

    ann, bob = User.objects.create_user("ann"), User.objects.create_user("bob")
    mailing = in_state("scheduled", Mailing, token=SECRET)
    values = form(
        mailing,
        tone="cold",
        sender=ann.pk,
        receivers=[ann.pk, bob.pk],
        options='{"copies": 3}',
        attachment=SimpleUploadedFile("letter.txt", b"Dear all"),
    )
    with override_settings(MEDIA_ROOT=tmp_path):
        assert boss.post(page(mailing), values).status_code == 302
        mailing.refresh_from_db()
        assert mailing.attachment.read() == b"Dear all"
        mailing.attachment.close()
        shown = text(boss.get(page(base(mailing))))
    assert (mailing.tone, mailing.sender, mailing.options) == ("cold", ann, {"copies": 3})
    assert set(mailing.receivers.all()) == {ann, bob}
    assert "Cold words" in shown and "letter" in shown and "copies" in shown
    entry = LogEntry.objects.get()
    assert SECRET not in entry.change_message
    for name in ("Tone", "Sender", "Receivers", "Options", "Attachment"):
        assert name in entry.get_change_message()


def test_a_forms_own_rules_hold(boss: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    mailing = in_state("scheduled", Mailing, token=SECRET)
    values = form(mailing, tone="cold", options='{"heating": true}')
    answer = boss.post(page_of(mailing).replace("/kinds/", "/careless/", 1), values)
    assert "It is warm in here." in text(answer)
    assert boss.post(page_of(mailing), values).status_code == 302


def test_a_claim_meanwhile_is_an_error_of_the_form(
    boss: Client, page: Callable[[Any], str]
) -> None:
    mailing = in_state("running", Mailing, token=SECRET)
    response = boss.post(page(mailing), form(mailing, tone="cold", options="{}"))
    assert "nothing was saved" in errors(response)
    assert SECRET not in text(response)


def test_subclasses_are_masked_as_their_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Note, "policy", Policy(sensitive_fields=["text"]))
    long = LongNote.dispatch(text=SECRET, body="open")
    assert own_columns(long)["text"] == MASK and own_columns(long)["body"] == "open"
    rank = RankUp.dispatch(user=User.objects.create_user("ann"))
    assert MASK not in own_columns(rank).values()


# Nor can it be guessed through the address, or looked up through a base class


@pytest.mark.parametrize("lookup", ["token", "token__startswith", "token__regex", "token__gt"])
def test_the_address_does_not_tell(
    staff: Callable[..., Client], mailings: str, lookup: str
) -> None:
    in_state("due", Mailing, token=SECRET)
    viewer = staff("view_mailing")
    for value in (SECRET, "x"):
        assert viewer.get(mailings, {lookup: value}).status_code == 400
    assert shown(viewer.get(mailings, {"tone": "warm"})) == {Mailing.objects.get().pk}


def test_nor_does_the_order_of_a_list(boss: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    made = [in_state("due", Mailing, token=token).pk for token in ("c", "a", "b")]
    for order in ("2", "-2"):
        answer = boss.get("/careless/kinds/mailing/", {"o": order})
        assert [row.pk for row in answer.context["cl"].result_list] == made[::-1]


def test_nor_that_of_a_subclass_or_of_a_base(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    long = in_state("due", LongNote, text=SECRET, body="open")
    for kind in (LongNote, Note):
        with monkeypatch.context() as patched:
            patched.setattr(kind, "policy", Policy(sensitive_fields=["text"]))
            for path in ("longnote/?note_ptr__text", "longnote/?text", "note/?text"):
                answer = boss.get(f"/kinds/kinds/{path}__startswith=h")
                assert answer.status_code == 400, (kind, path)
            for path in ("longnote/?body", "note/?id", "longnote/?note_ptr__id"):
                assert boss.get(f"/kinds/kinds/{path}__gt=0").status_code == 200, (kind, path)
    assert shown(boss.get("/kinds/kinds/longnote/?text__startswith=h")) == {long.pk}


def test_a_filter_of_ones_own_may_tell(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Note, "policy", Policy(sensitive_fields=["text", "queue", "priority"]))
    note = in_state("due", text=SECRET)
    named = ["text", ("priority", AllValuesFieldListFilter), QueueFilter]
    monkeypatch.setattr(kinds_site.NoteAdmin, "list_filter", named)
    for query in ({"text": SECRET}, {"priority": note.priority}, {"queue": "notes"}):
        assert shown(boss.get("/kinds/kinds/note/", query)) == {note.pk}
    for lookup in ("queue__startswith", "queue__exact"):
        assert boss.get("/kinds/kinds/note/", {lookup: "notes"}).status_code == 400


@pytest.mark.parametrize("of_policy", [True, False])
def test_a_list_of_a_base_masks_what_a_subclass_hides(
    boss: Client, monkeypatch: pytest.MonkeyPatch, of_policy: bool
) -> None:
    if of_policy:
        monkeypatch.setattr(LongNote, "policy", Policy(sensitive_fields=["text", "priority"]))
    else:
        pages = kinds_site.site.get_model_admin(LongNote)
        monkeypatch.setattr(pages, "sensitive_fields", ["text", "priority"])
    monkeypatch.setattr(kinds_site.NoteAdmin, "list_display", ["text", "id", "reason", "priority"])
    in_state("due", LongNote, text=SECRET)
    in_state("due", text="for <all>")
    page = text(boss.get("/kinds/kinds/note/"))
    assert SECRET not in page and page.count(MASK) == 2
    assert "for &lt;all&gt;</a>" in page and f"{MASK}</a>" in page
    assert 'name="form-0-priority"' not in page


def test_a_column_of_an_admin_that_some_kind_hides(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the list of all kinds, which may have a column of that name."""

    @admin.display(description="the token", boolean=True)
    def token(pages: Any, operation: Any) -> bool:
        return True

    monkeypatch.setattr(EveryOperationAdmin, "token", token, raising=False)
    monkeypatch.setattr(EveryOperationAdmin, "list_display", ["id", "token", "state_badge"])
    in_state("due", Mailing, token=SECRET)
    in_state("due")
    page = text(boss.get(LIST))
    assert "The token" in page and page.count("icon-yes") == 1 and page.count(MASK) == 1
