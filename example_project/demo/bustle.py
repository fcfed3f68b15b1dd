"""Keeps the shop busy while `manage.py serve` runs: some operations a minute, of all sorts."""

import random
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet

from example_project.shop.models import (
    ArrangeWindow,
    AskDelivery,
    Basket,
    Book,
    ComputeMargin,
    CountShelves,
    Customer,
    FetchRate,
    ImportCatalogue,
    RankUp,
    RemindBasket,
    SweepBaskets,
    TrackParcel,
    UpdateStock,
    WatchAuction,
    WelcomeMail,
)
from operator_app.models import Recurrence

from .partners import RATES

NAMES = ["Flora Binding", "Gus Gutter", "Hetty Serif", "Jonas Octavo", "Kitty Kern", "Leo Ligature"]
SOON = timedelta(seconds=15)

Thing = TypeVar("Thing", bound=Model)


def any_of(things: QuerySet[Thing]) -> QuerySet[Thing]:
    """Return one of these at random; none where someone at the admin has deleted them all."""
    return things.order_by("?")[:1]


def clockwork() -> None:
    """What comes by the clock: a rate each minute, as somebody has set it up at the admin."""
    facts = {
        "kind": ContentType.objects.get_for_model(FetchRate),
        "expression": "* * * * *",
        "time_zone": "Europe/Berlin",
        "fields": {"currency": "CHF"},
    }
    Recurrence.objects.get_or_create(name="watch the franc", defaults=facts)


def newcomer() -> None:
    """Somebody signs up: a mail now, a promotion soon."""
    name = random.choice(NAMES)
    email = f"{name.split()[0].lower()}-{secrets.token_hex(4)}@example.org"
    customer = Customer.objects.create(name=name, email=email)
    WelcomeMail.dispatch(customer=customer)
    RankUp.schedule(SOON, customer=customer, rank=Customer.Rank.READER)


def full_basket() -> None:
    """Somebody fills a basket, and is reminded a little later; every other one pays before."""
    for customer in any_of(Customer.objects.all()):
        basket = Basket.objects.create(customer=customer)
        basket.books.add(*Book.objects.order_by("?")[:3])
        RemindBasket.schedule(SOON, basket=basket)
        if random.random() < 0.5:
            basket.pay()


def curious_visitor() -> None:
    """Somebody asks about a book."""
    for book in any_of(Book.objects.exclude(price_cents=0)):
        AskDelivery.dispatch(book=book)
        ComputeMargin.dispatch(book=book)


def bank_hour() -> None:
    """The exchange rates are due."""
    for currency in RATES:
        FetchRate.dispatch(currency=currency)


def stocktaking() -> None:
    """A wholesaler sends a list, the shop imports the catalogue."""
    UpdateStock.dispatch(wholesaler="pennyworth")
    ImportCatalogue.dispatch()


def parcels() -> None:
    """Somebody asks where his parcels are."""
    for number in random.sample(range(1000, 10_000), 3):
        TrackParcel.dispatch(number=f"P-{number}")


def giveaway() -> None:
    """Somebody wonders what a free book earns. This one fails, until the book has a price."""
    for book in any_of(Book.objects.filter(price_cents=0)):
        ComputeMargin.dispatch(book=book)


def quiet_hour() -> None:
    """Time for what takes long. Half a minute, in which somebody at the admin may call it off."""
    CountShelves.dispatch()
    WatchAuction.dispatch()


def idle_dream() -> None:
    """The window could be nicer. This one takes too long, always."""
    ArrangeWindow.dispatch()


def closing_time() -> None:
    """The shop is swept, and a promotion for next week is noted."""
    SweepBaskets.dispatch()
    for customer in any_of(Customer.objects.all()):
        RankUp.schedule(timedelta(weeks=1), customer=customer, rank=Customer.Rank.BOOKWORM)


EVENTS: dict[Callable[[], None], int] = {
    newcomer: 5,
    full_basket: 6,
    curious_visitor: 6,
    bank_hour: 3,
    stocktaking: 1,
    parcels: 3,
    giveaway: 1,
    quiet_hour: 1,
    idle_dream: 1,
    closing_time: 1,
}
"""What may happen next, and how often in proportion."""


def something() -> None:
    """Let one event happen."""
    (event,) = random.choices(list(EVENTS), weights=list(EVENTS.values()))
    event()
