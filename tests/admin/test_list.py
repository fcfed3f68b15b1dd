"""The list of operations: tabs with numbers, filters, chips; pages by the place in the order."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin import SimpleListFilter
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from operator_app import clock
from operator_app.admin import bounds
from operator_app.models import Operation, OperationJob, counts
from operator_app.models import number as number_module
from operator_app.models.number import Number
from tests.admin.conftest import STATES, in_state, operator, put
from tests.admin.site import NoteAdmin, RankUpAdmin, site
from tests.admin.test_pages import LIST, shown, text
from tests.admin.test_runs import all_of
from tests.kinds.models import LongNote, Mailing, Note, RankUp, Report, Sweep, Tagged
from tests.once import once

pytestmark = pytest.mark.django_db

NOTES = "/kinds/kinds/note/"
MAILINGS = "/kinds/kinds/mailing/"


def numbers(response: Any) -> dict[str, str]:
    return {tab.state: str(tab.number) for tab in response.context["cl"].tabs}


def ids(response: Any) -> list[int]:
    return [row.pk for row in response.context["cl"].result_list]


def links(response: Any) -> dict[str, str]:
    return {link.label: LIST + link.url for link in response.context["cl"].links}


def make(count: int, model: type[Operation] = Sweep, step: int = 0) -> list[int]:
    """Scheduled ones, the ids from the lowest on; `step` seconds between them."""
    now = clock.now()
    rows = [model(should_run_at=now + timedelta(hours=1, seconds=n * step)) for n in range(count)]
    return sorted(row.pk for row in model.schedule_many(rows))


@pytest.fixture
def _ten_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    for admin in (NoteAdmin, RankUpAdmin):
        monkeypatch.setattr(admin.__mro__[1], "list_per_page", 10)


# Tabs


def test_tabs_tell_how_many_are_in_each_state(boss: Client) -> None:
    for state in STATES:
        in_state(state)
    in_state("failed", Report)
    page = boss.get(LIST)
    assert numbers(page) == dict.fromkeys(STATES, "1") | {"failed": "2", "all": "8"}
    assert text(page).partition("operator-tabs")[2].count('aria-current="page"') == 1
    tabs = page.context["cl"].tabs
    assert [tab.state for tab in tabs if tab.is_current] == ["all"]
    page = boss.get(LIST, {"state": "failed"})
    assert [tab.state for tab in page.context["cl"].tabs if tab.is_current] == ["failed"]
    assert numbers(page)["running"] == "1"


@pytest.mark.parametrize(
    "params",
    [
        {"kind": "kinds.Report"},
        {"queue": "reports"},
        {"kind": "kinds.Report", "queue": "reports"},
        {"q": "reporting"},
        {"time": "created", "within": "1h", "kind": "kinds.Report"},
        {"kind_id": "of Report"},
    ],
)
def test_numbers_respect_the_other_filters(boss: Client, params: dict[str, str]) -> None:
    for state in STATES:
        in_state(state, Note)
        put(in_state(state, Report), unique_key="reporting")
    in_state("due", Report)
    if "kind_id" in params:
        params = {"kind_id": str(Report.objects.first().kind_id)}  # type: ignore[union-attr]
    if "q" in params:
        put(Report.objects.last(), unique_key="reporting")  # type: ignore[arg-type]
    page = boss.get(LIST, {**params, "state": "due"})
    assert numbers(page) == dict.fromkeys(STATES, "1") | {"due": "2", "all": "8"}
    assert len(shown(page)) == 2
    urls = {tab.state: tab.url for tab in page.context["cl"].tabs}
    assert len(shown(boss.get(LIST + urls["failed"]))) == 1
    assert len(shown(boss.get(LIST + urls["all"]))) == 8


def test_numbers_of_a_kinds_own_page_are_of_the_kind(boss: Client) -> None:
    for state in STATES:
        in_state(state, Report)
        in_state(state, LongNote)
    in_state("scheduled", Note)
    page = boss.get(NOTES)
    assert numbers(page) == dict.fromkeys(STATES, "1") | {"scheduled": "2", "all": "8"}
    assert numbers(boss.get("/kinds/kinds/longnote/"))["all"] == "7"


@once
def test_numbers_are_capped(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (counts, number_module):
        monkeypatch.setattr(module, "CAP", 3)
    monkeypatch.setattr(counts, "WINDOW", 8)
    for _ in range(4):
        for state in ("finished", "failed", "cancelled"):
            in_state(state)
    make(5)
    page = numbers(boss.get(LIST))
    assert page["failed"] == page["cancelled"] == page["scheduled"] == "3+"
    # Among the eight newest: what is older may or may not be.
    assert page["finished"] == "1+"
    assert numbers(boss.get(LIST, {"q": "operation"}))["all"].endswith("+")


@once
def test_more_lanes_than_are_counted(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "LANES", 2)
    for queue in "abc":
        Sweep.schedule(timedelta(hours=1), queue=queue)
    assert numbers(boss.get(LIST))["scheduled"] == "2+"


# Pages


@pytest.mark.usefixtures("_ten_a_page")
@pytest.mark.parametrize(
    "order",
    ["", "o=-1", "o=1", "o=4", "o=-4", "o=4.-1", "o=4&state=scheduled", "o=-4&state=scheduled"],
)
def test_pages_lead_through_all_and_back(boss: Client, order: str) -> None:
    made = make(35, step=1)
    wanted = sorted(made, reverse=order.partition("&")[0] not in ("o=1", "o=4", "o=4.-1"))
    page, seen, pages = boss.get(f"{LIST}?{order}"), [], []
    while True:
        seen += ids(page)
        pages.append(ids(page))
        text(page)
        names = {"Older", "Newer", "Next page"} & set(links(page))
        forth = [name for name in links(page) if "after=" in links(page)[name]]
        if not forth:
            break
        assert len(names) >= 1
        page = boss.get(links(page)[forth[0]])
    assert seen == wanted
    for before in reversed(pages[:-1]):
        (back,) = [url for url in links(page).values() if "before=" in url]
        page = boss.get(back)
        assert ids(page) == before
    assert not [url for url in links(page).values() if "before=" in url]


@pytest.mark.usefixtures("_ten_a_page")
def test_equal_times_are_told_apart_by_the_id(boss: Client) -> None:
    make(25)
    moment = clock.now() + timedelta(hours=1)
    Operation.all_objects.update(should_run_at=moment)
    first = boss.get(f"{LIST}?o=4")
    second = boss.get(links(first)["Next page"])
    third = boss.get(links(second)["Next page"])
    assert len(set(ids(first) + ids(second) + ids(third))) == 25
    assert ids(boss.get(links(third)["Previous page"])) == ids(second)


@pytest.mark.usefixtures("_ten_a_page")
def test_pages_stand_still_while_rows_come_and_go(boss: Client) -> None:
    made = make(30)
    first = boss.get(LIST)
    make(3)
    Operation.all_objects.filter(pk=made[19]).delete()  # where the page begins
    second = boss.get(links(first)["Older"])
    assert ids(second) == made[9:19][::-1]
    # Back, it is what came before; nearer to the beginning than a page, it is the first page.
    assert ids(boss.get(links(second)["Newer"])) == made[20:30][::-1]
    assert len(ids(boss.get(f"{LIST}?before={made[28]}"))) == 10


@pytest.mark.usefixtures("_ten_a_page")
def test_pages_keep_filters_and_filters_leave_the_page(boss: Client) -> None:
    make(25)
    Note.dispatch()
    page = boss.get(f"{LIST}?kind=kinds.Sweep&state=scheduled&q=operation")
    older = links(page)["Older"]
    for part in ("kind=kinds.Sweep", "state=scheduled", "q=operation"):
        assert part in older
    page = boss.get(older)
    assert len(shown(page)) == 10
    listed = text(page).replace("&amp;", "&")
    to_filters = re.findall(r'href="(\?[^"]*)"', listed.partition('class="operator-pages"')[0])
    assert to_filters and not [url for url in to_filters if "after=" in url]
    # What opens a row knows the way back to this page.
    assert "_changelist_filters=" in listed and "after%3D" in listed


@once
@pytest.mark.parametrize(
    "place",
    ["after=x", "before=1~2", "after=~", "after=99999999999999999999", "after=1.5", "before=-"],
)
def test_a_place_that_is_none(boss: Client, place: str) -> None:
    made = make(3)
    page = boss.get(f"{LIST}?{place}")
    assert "There is no such page" in text(page)
    assert ids(page) == made[::-1]


@once
@pytest.mark.parametrize("place", ["after=9999-12-31T23:59:59Z~1", "before=0001-01-01T00:00:00Z~1"])
def test_a_time_that_no_zone_has(boss: Client, place: str) -> None:
    make(3)
    assert "There is no such page" in text(boss.get(f"{LIST}?o=4&{place}"))


@once
@pytest.mark.usefixtures("_ten_a_page")
def test_an_order_by_a_text_has_numbered_pages(boss: Client) -> None:
    Note.schedule_many([Note(should_run_at=clock.now(), text=f"{n:02}") for n in range(25)])
    page = boss.get(f"{NOTES}?o=4", follow=True)
    assert page.context["cl"].links is None
    page = boss.get(f"{NOTES}?o=4&p=2")
    assert [row.text for row in page.context["cl"].result_list][:1] == ["10"]
    assert 'p=3"' in text(page)


@once
def test_a_subclass_with_its_own_order_and_hierarchy(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NoteAdmin, "ordering", ["text"])
    monkeypatch.setattr(NoteAdmin, "date_hierarchy", "created_at")
    monkeypatch.setattr(NoteAdmin, "list_filter", ["text"])
    Note.dispatch(text="b")
    Note.dispatch(text="a")
    page = boss.get(NOTES)
    assert [row.text for row in page.context["cl"].result_list] == ["a", "b"]
    assert page.context["cl"].tabs is None
    assert "operator-tabs" not in text(page)
    year = clock.now().year
    assert len(shown(boss.get(NOTES, {"created_at__year": year}))) == 2
    assert len(shown(boss.get(NOTES, {"created_at__year": year - 1}))) == 0


@once
def test_pages_of_a_list_that_can_be_edited(boss: Client) -> None:
    made = sorted((Note.dispatch(text=word).pk for word in "ab"), reverse=True)
    page = text(boss.get(NOTES))
    assert 'name="_save"' in page
    posted: dict[str, Any] = {"_save": "Save", "form-TOTAL_FORMS": 2, "form-INITIAL_FORMS": 2}
    for number, pk in enumerate(made):
        posted |= {f"form-{number}-operation_ptr": pk, f"form-{number}-priority": number + 7}
    assert boss.post(NOTES, posted).status_code == 302
    assert [Note.objects.get(pk=pk).priority for pk in made] == [7, 8]


@once
def test_a_filter_without_an_index_looks_so_far_at_once(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Note.dispatch(text="old").pk
    made = make(30)
    monkeypatch.setattr(bounds, "SCANNED", 20)
    page = boss.get(LIST, {"kind": "kinds.Note"})
    assert shown(page) == set()
    assert "Looked through operations down to" in text(page)
    page = boss.get(links(page)["Look further back"])
    assert shown(page) == {old} and made
    assert "Look further back" not in links(page)
    # A state's own index finds it at once.
    assert shown(boss.get(LIST, {"kind": "kinds.Note", "state": "due"})) == {old}
    # Where nothing is older there is nothing to look at, however high the ids are.
    Operation.all_objects.filter(pk__lte=counts.newest_id("default") - 20).delete()
    page = boss.get(LIST, {"kind": "kinds.Note"})
    assert shown(page) == set() and "Look further back" not in links(page)


@pytest.mark.usefixtures("_ten_a_page")
def test_pending_ones_by_their_times_from_all_lanes(boss: Client) -> None:
    """The first of each lane are enough; and equal times of several lanes."""
    now = clock.now()
    rows = [
        Sweep(should_run_at=now + timedelta(hours=1 + n // 4), queue="abc"[n % 3], priority=n % 2)
        for n in range(40)
    ]
    Sweep.schedule_many(rows)
    wanted = [row.pk for row in sorted(rows, key=lambda row: (row.should_run_at, -row.pk))]
    page = boss.get(f"{LIST}?o=4&state=scheduled")
    seen = ids(page)
    while later := links(page).get("Next page"):
        page = boss.get(later)
        seen += ids(page)
    assert seen == wanted
    in_a = [row.pk for row in rows if row.queue == "a"]
    assert set(ids(boss.get(f"{LIST}?o=4&state=scheduled&queue=a"))) <= set(in_a)
    assert ids(boss.get(f"{LIST}?o=4&state=due")) == []


@once
def test_an_order_without_an_index_is_of_the_newest(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [in_state("finished").pk for _ in range(6)]
    monkeypatch.setattr(counts, "WINDOW", 4)
    page = boss.get(f"{LIST}?o=4")
    assert set(ids(page)) == set(made[2:])
    assert "newest 4 operations only" in text(page)
    Operation.all_objects.filter(pk__in=made[:2]).delete()
    page = boss.get(f"{LIST}?o=4")  # Ids go on, and these are all that there are.
    assert set(ids(page)) == set(made[2:])
    assert "operations only" not in text(page)


@pytest.fixture
def _warm_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin whose list has only some of the operations of its kind."""
    admin = site.get_model_admin(Mailing)
    all_of_them = admin.get_queryset

    def warm(request: Any) -> Any:
        return all_of_them(request).filter(tone=Mailing.Tone.WARM)

    monkeypatch.setattr(admin, "get_queryset", warm)
    monkeypatch.setattr(admin, "list_per_page", 10, raising=False)


def mailings(cold: int, warm: int) -> list[int]:
    """Scheduled ones, cold ones first; the ids of the warm ones, in the order of their times."""
    now, tones = clock.now(), [Mailing.Tone.COLD] * cold + [Mailing.Tone.WARM] * warm
    rows = [
        Mailing(should_run_at=now + timedelta(hours=1, seconds=n), tone=tone)
        for n, tone in enumerate(tones)
    ]
    return [row.pk for row in Mailing.schedule_many(rows)][cold:]


@once
@pytest.mark.usefixtures("_warm_only")
@pytest.mark.parametrize(
    "query", ["state=scheduled", "o=3&state=scheduled", "o=3", "queue=default"]
)
def test_an_admin_with_a_queryset_of_its_own(boss: Client, query: str) -> None:
    """What is known of all operations of the kind says nothing of those in the list."""
    wanted = mailings(cold=30, warm=25)
    page = boss.get(f"{MAILINGS}?{query}")
    assert numbers(page)["scheduled"] == numbers(page)["all"] == "25"
    assert page.context["cl"].result_count == 25
    seen = ids(page)
    while further := [link for link in page.context["cl"].links if "after=" in link.url]:
        page = boss.get(MAILINGS + further[0].url)
        seen += ids(page)
    assert seen == (wanted if "o=3" in query else wanted[::-1])
    asked = boss.post(f"{MAILINGS}?{query}", all_of("cancel_selected"))
    assert str(asked.context["total"]) == "25"


@once
@pytest.mark.usefixtures("_warm_only")
def test_an_admin_with_few_of_many_looks_so_far_at_once(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = mailings(cold=0, warm=1)
    mailings(cold=30, warm=0)
    monkeypatch.setattr(bounds, "SCANNED", 20)
    page = boss.get(MAILINGS)
    assert ids(page) == []
    (further,) = [link for link in page.context["cl"].links if "after=" in link.url]
    assert ids(boss.get(MAILINGS + further.url)) == [old]


@once
@pytest.mark.parametrize("codenames", [[], ["view_operation"], ["view_note", "view_sweep"]])
@pytest.mark.parametrize("query", ["", "kind=kinds.Note", "queue=notes&kind=kinds.Note&state=due"])
def test_the_usual_list_is_found_by_its_lanes(
    staff: Callable[..., Client], boss: Client, codenames: list[str], query: str
) -> None:
    Note.dispatch()
    client = staff(*codenames) if codenames else boss
    for address in (LIST, NOTES, "/kinds/kinds/sweep/"):
        changelist = client.get(f"{address}?{query}").context["cl"]
        assert not changelist.is_narrowed, address
        assert changelist.is_restricted == (len(codenames) == 2 and address == LIST)


@once
def test_a_filter_that_is_on_without_being_chosen(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Warm(SimpleListFilter):
        title = parameter_name = "warmth"

        def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
            return [("all", "all")]

        def queryset(self, request: Any, queryset: Any) -> Any:
            return queryset if self.value() else queryset.filter(tone=Mailing.Tone.WARM)

    admin = site.get_model_admin(Mailing)
    monkeypatch.setattr(admin, "list_filter", [*admin.list_filter, Warm])
    wanted = mailings(cold=30, warm=3)
    page = boss.get(f"{MAILINGS}?o=3&state=scheduled")
    assert (ids(page), numbers(page)["scheduled"]) == (wanted, "3")
    assert numbers(boss.get(f"{MAILINGS}?warmth=all"))["scheduled"] == "33"


# Filters


def test_operators(boss: Client) -> None:
    first, second = in_state("running"), in_state("running")
    lost = operator(lost_at=clock.now(), hostname="sunk")
    listed = text(boss.get(LIST))
    assert f"?operator={first.operator_id}" in listed and "sunk" not in listed
    assert shown(boss.get(LIST, {"operator": first.operator_id})) == {first.pk}
    assert "sunk:4711" in text(boss.get(LIST, {"operator": lost.pk}))
    assert "987654 (gone)" in text(boss.get(LIST, {"operator": 987654}))
    assert shown(boss.get(LIST, {"operator": "nobody"})) == set()
    assert shown(boss.get(LIST, {"operator": "9" * 30})) == set()
    assert second.pk in shown(boss.get(LIST))


def test_times(boss: Client) -> None:
    now = clock.now()
    old = put(Note.dispatch(), created_at=now - timedelta(days=3), should_run_at=now)
    late = put(Note.dispatch(), should_run_at=now - timedelta(days=2))
    failed = put(in_state("failed"), should_run_at=now - timedelta(hours=3))
    found = {
        ("due", "1h"): {old.pk},
        ("due", "24h"): {old.pk, failed.pk},
        ("due", "7d"): {old.pk, failed.pk, late.pk},
        ("created", "24h"): {late.pk, failed.pk},
        ("ended", "1h"): {failed.pk},
    }
    for (moment, within), rows in found.items():
        assert shown(boss.get(LIST, {"time": moment, "within": within})) == rows, moment
    day = clock.local(now) - timedelta(days=1)
    since = {"time": "due", "since": f"{day:%Y-%m-%dT%H:%M}"}
    assert shown(boss.get(LIST, since)) == {old.pk, failed.pk}
    until = {"time": "due", "until": f"{day:%Y-%m-%dT%H:%M}"}
    page = boss.get(LIST, until | {"kind": "kinds.Note"})
    assert shown(page) == {late.pk}
    listed = text(page)
    assert "due Until" in listed and f'value="{day:%Y-%m-%dT%H:%M}"' in listed
    assert '<input type="hidden" name="kind" value="kinds.Note">' in listed


@once
@pytest.mark.parametrize(
    "params",
    [
        {"time": "nonsense", "within": "1h"},
        {"time": "due", "within": "1y"},
        {"time": "due", "since": "yesterday"},
        {"time": "due", "since": "0001-01-01T00:00"},
        {"time": "due"},
        {"within": "1h"},
    ],
)
def test_times_that_are_none(boss: Client, params: dict[str, str]) -> None:
    note = Note.dispatch()
    page = boss.get(LIST, params, follow=True)
    assert shown(page) == {note.pk}
    text(page)


def test_tags_and_exceptions_are_chips(boss: Client) -> None:
    tagged, other = Tagged.dispatch(customer=5), put(in_state("failed"), unique_key="k")
    job = {"operation_id": other.pk, "started_at": clock.now(), "number": 1}
    OperationJob.objects.create(exception_class="shop.BankDown", outcome="failed", **job)
    page = boss.get(LIST, {"tag": "customer:5", "state": "due"})
    assert shown(page) == {tagged.pk}
    (chip,) = page.context["cl"].chips
    assert (chip.label, chip.value) == ("tag", "customer:5")
    assert chip.url == "?state=due" and 'href="?state=due"' in text(page)
    assert shown(boss.get(LIST, {"exception": "shop.BankDown"})) == {other.pk}
    assert shown(boss.get(LIST, {"exception": "BankDown"})) == set()
    assert shown(boss.get(LIST, {"tag": f"kinds.Tagged:{tagged.pk}"})) == {tagged.pk}
    assert "operator-chips" not in text(boss.get(LIST))


# What runs


def test_the_progress_of_what_runs(boss: Client) -> None:
    running, waiting = in_state("running"), in_state("due")
    for operation, done in ((running, 3), (waiting, 4)):
        OperationJob.objects.create(
            operation_id=operation.pk,
            number=1,
            started_at=clock.now(),
            progress_done=done,
            progress_total=8,
            progress_message="half way <b>",
        )
    listed = text(boss.get(LIST))
    assert listed.count("<progress") == 1
    assert 'max="8" value="3"' in listed and "half way &lt;b&gt;" in listed


# What it costs


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"state": "finished", "kind": "kinds.RankUp"},
        {"state": "running"},
        {"time": "ended", "within": "24h"},
        {"tag": "operation"},
        {"exception": "a.B"},
        {"o": "4"},
    ],
)
def test_no_count_of_all_and_no_offset(boss: Client, params: dict[str, str]) -> None:
    user = User.objects.create_user("ann")
    for number in range(30):
        in_state(STATES[number % len(STATES)], RankUp, user=user)
    boss.get(LIST, params)
    for address in (LIST, "/kinds/kinds/rankup/"):
        with CaptureQueriesContext(connection) as captured:
            text(boss.get(address, params))
        few = len(captured)
        assert few <= 14
        for query in captured:
            sql = query["sql"]
            assert "OFFSET" not in sql and "DISTINCT" not in sql
            if "COUNT(" in sql:
                assert _is_bounded(sql), sql
    for number in range(60):
        in_state(STATES[number % len(STATES)], RankUp, user=user)
    with CaptureQueriesContext(connection) as captured:
        text(boss.get(address, params))
    assert len(captured) == few


def _is_bounded(sql: str) -> bool:
    """By a number, by the newest id, or to the few that have started and not ended."""
    sql = sql.replace("`", '"')
    newest = re.search(r'"(id|operation_ptr_id)" > *\(?-?\d+', sql)
    where = sql.rpartition(" WHERE ")[2]
    is_few = '"started_run_at" IS NOT NULL' in where and '"failed_run_at" IS NULL' in where
    return "LIMIT" in sql or newest is not None or is_few


def test_numbers_add_up() -> None:
    assert str(Number.sum([Number(2), Number(3, True)])) == "5+"
