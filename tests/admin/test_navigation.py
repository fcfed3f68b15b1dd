"""The bar that leads from page to page, and who gets which of its links."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.template import RequestContext, Template
from django.test import Client, RequestFactory
from django.urls import path

from operator_app.admin import EveryOperationAdmin, OperationAdmin
from operator_app.admin.pages import NAVIGATION, Page, navigation
from operator_app.models import Operation, OperatorProcess
from tests import urls
from tests.admin.conftest import in_state
from tests.admin.site import site
from tests.once import once

pytestmark = [pytest.mark.django_db, once]

ROOT = "/kinds/operator_app/"
LISTS = {"operation": "Operations", "operatorprocess": "Operators", "recurrence": "Recurrences"}


def bar(page: str) -> str:
    found = re.search(r'<nav class="operator-nav".*?</nav>', page, re.DOTALL)
    return found[0] if found else ""


@pytest.mark.parametrize("name", LISTS)
def test_the_bar_is_above_each_list_and_marks_it(name: str, boss: Client) -> None:
    shown = bar(boss.get(f"{ROOT}{name}/").content.decode())
    for other in LISTS:
        assert f'href="{ROOT}{other}/"' in shown
    assert re.findall(r'aria-current="page">([^<]+)', shown) == [LISTS[name]]


def test_the_bar_is_above_the_lists_of_kinds_and_marks_none(boss: Client) -> None:
    shown = bar(boss.get("/kinds/kinds/note/").content.decode())
    assert f'href="{ROOT}operation/"' in shown and "aria-current" not in shown


def test_a_popup_has_no_bar(boss: Client) -> None:
    assert not bar(boss.get(f"{ROOT}operation/?_popup=1").content.decode())


@pytest.mark.parametrize("root", ["/kinds/", "/admin/"])
def test_the_bar_is_above_the_index_of_the_section_on_each_site(root: str, boss: Client) -> None:
    """Pages that are no list of a model are named there, too."""
    page = boss.get(f"{root}operator_app/").content.decode()
    shown = bar(page)
    titles = re.findall(r"<a href=[^>]+>([^<]+)", shown)
    assert titles == [str(entry.title) for entry in NAVIGATION] and "aria-current" not in shown
    assert all(f'href="{root}' in link for link in re.findall(r"<a [^>]+>", shown))
    assert 'href="/static/operator_app/admin.css"' in page
    assert not bar(boss.get(f"{root}auth/").content.decode())


def test_the_index_of_the_section_shows_what_a_user_may_see(staff: Callable[..., Client]) -> None:
    shown = bar(staff("view_recurrence").get(f"{ROOT}").content.decode())
    assert re.findall(r'href="([^"]+)"', shown) == [f"{ROOT}recurrence/"]


def test_no_bar_outside_of_an_admin_site(rf: RequestFactory) -> None:
    request = rf.get("/")
    page = Template("{% load operator_pages %}{% operator_navigation %}")
    assert not bar(page.render(RequestContext(request)))


def test_a_user_gets_the_links_to_what_he_may_see(staff: Callable[..., Client]) -> None:
    shown = bar(staff("view_operatorprocess").get(f"{ROOT}operatorprocess/").content.decode())
    assert re.findall(r'href="([^"]+)"', shown) == [f"{ROOT}operatorprocess/"]


def test_what_a_site_does_not_have_is_left_out(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = User.objects.create_superuser("ann")
    assert navigation(AdminSite(name="empty"), request, Operation) == []
    places = {(entry.model, entry.view) for entry in NAVIGATION}
    assert (Operation, "changelist") in places and (OperatorProcess, "changelist") in places


plain = AdminSite(name="plain")
plain.register(Operation, OperationAdmin)
urlpatterns = [path("plain/", plain.urls), *urls.urlpatterns]


@pytest.mark.parametrize("address", ["", "operator_app/", "operator_app/operation/", "change"])
def test_a_site_with_a_plain_admin_has_no_other_pages(
    address: str, boss: Client, settings: Any
) -> None:
    settings.ROOT_URLCONF = __name__
    if address == "change":
        address = f"operator_app/operation/{in_state('failed').pk}/change/"
    answer = boss.get(f"/plain/{address}")
    assert answer.status_code == 200
    shown = bar(answer.content.decode())
    expected = ["/plain/operator_app/operation/"] if address.startswith("operator_app/") else []
    if "change" not in address:
        assert re.findall(r'href="([^"]+)"', shown) == expected


def an_admin() -> EveryOperationAdmin:
    return EveryOperationAdmin(Operation, site)


def page(**options: Any) -> Page:
    def context(*_args: Any) -> dict[str, Any]:
        return {"subtitle": "so it is"}

    return Page("sample", "A sample", "operator_app/admin/page.html", context, **options)  # type: ignore[arg-type]


def test_a_page_is_drawn_in_the_frame_of_the_admin(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = User.objects.create_superuser("ann")
    drawn = page(css=("own.css",)).respond(an_admin(), request)
    text = drawn.render().content.decode()  # type: ignore[attr-defined]
    assert "<h1>A sample</h1>" in text and "so it is" in text and bar(text)
    assert "own.css" in text and "operator_app/admin.css" in text


def test_a_page_is_refused_to_who_may_not_view_operations(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = AnonymousUser()
    with pytest.raises(PermissionDenied):
        page().respond(an_admin(), request)


def test_only_a_page_that_acts_takes_a_post(rf: RequestFactory) -> None:
    request = rf.post("/")
    request.user = User.objects.create_superuser("ann")
    assert page().respond(an_admin(), request).status_code == 405
    acting = page(act=lambda *_args: HttpResponse(status=204))
    assert acting.respond(an_admin(), request).status_code == 204
    other = rf.put("/")
    other.user = request.user
    assert acting.respond(an_admin(), other).status_code == 405
