"""What the shop does: one kind of operation for each way that an operation can go.

WelcomeMail, RankUp       finish
FetchRate                 stops when the bank is down, and tries again later
RemindBasket              cancels itself when there is nothing left to remind of
UpdateStock               raises, is retried, finishes
ComputeMargin             raises until its attempts are used up, and fails
ImportCatalogue           reports its progress
AskDelivery               has an `async def run`
CountShelves              looks whether it is to abort, and does
WatchAuction              is async, and aborted where it waits
ArrangeWindow             takes too long, and is killed with its process
TrackParcel               waits behind a circuit breaker while the carrier is away
SweepBaskets              needs no columns, so it is a proxy without a table; recurs each night
"""

import asyncio
import csv
import time
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise, permutations
from pathlib import Path

from django.conf import settings
from django.core.mail import send_mail
from django.db import models
from django.utils import timezone

from operator_app import CircuitBreaker, Policy, Recurring
from operator_app.models import Operation

from ..partners import WHOLESALERS, PartnerDown, ask
from .things import Basket, Book, Customer, ExchangeRate

DATA = Path(__file__).resolve().parent.parent / "data"
SHELVES = LAST_BID = 300
BREATH = 0.005
"""Seconds between two rows of an import, in which customers get at the database."""


class WelcomeMail(Operation):
    """Greet a new customer."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)

    policy = Policy(queue="mail")

    def run(self) -> None:
        send_mail(
            subject="Welcome to Marginalia",
            message=f"Dear {self.customer.name},\n\nyour first book is posted free of charge.\n",
            from_email=None,
            recipient_list=[self.customer.email],
        )


class RankUp(Operation):
    """Promote a customer. Goes away with the customer: that is what the foreign key says."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)
    rank = models.CharField(max_length=20, choices=Customer.Rank)

    policy = Policy(queue="ranks", max_attempts=5)

    def run(self) -> None:
        self.customer.promote(self.rank)


class FetchRate(Operation):
    """Ask the bank what a euro is worth. A bank that is down is no failure: ask again later."""

    currency = models.CharField(max_length=3)

    policy = Policy(queue="partners")

    def run(self) -> None:
        try:
            answer = ask(f"/rates/{self.currency}")
        except PartnerDown as error:
            self.stop(f"the bank answered {error.status}", delay=1)
        ExchangeRate.objects.update_or_create(
            currency=self.currency,
            defaults={"rate": Decimal(answer["rate"]), "fetched_at": timezone.now()},
        )


class RemindBasket(Operation):
    """Remind a customer of a full basket, unless it has been paid meanwhile."""

    basket = models.ForeignKey(Basket, on_delete=models.CASCADE)

    policy = Policy(queue="mail")

    def run(self) -> None:
        if self.basket.paid_at is not None:
            self.cancel("the basket is already paid")
        customer = self.basket.customer
        titles = "\n".join(f"- {book.title}, {book.price}" for book in self.basket.books.all())
        send_mail(
            subject="Your books are waiting",
            message=f"Dear {customer.name},\n\nstill in your basket:\n\n{titles}\n",
            from_email=None,
            recipient_list=[customer.email],
        )


class UpdateStock(Operation):
    """Take over the wholesaler's stock list, which comes cut off now and then.

    A list that is no JSON raises, as it should: the policy tries again, three times at most.
    """

    wholesaler = models.CharField(max_length=50)
    books_updated = models.PositiveIntegerField(default=0, editable=False)

    policy = Policy(queue="partners", backoff=[1, 1, 5])

    def run(self) -> None:
        stock: dict[str, int] = ask(f"/stock/{self.wholesaler}")
        for sku, count in stock.items():
            self.books_updated += Book.objects.filter(sku=sku).update(stock=count)
        self.save(update_fields=["books_updated"])


class ComputeMargin(Operation):
    """Work out what a book earns. Nobody thought of books that are given away for nothing."""

    book = models.ForeignKey(Book, on_delete=models.CASCADE)

    policy = Policy(queue="catalogue", max_attempts=2, backoff=[1])

    def run(self) -> None:
        profit = self.book.price_cents - self.book.cost_cents
        self.book.margin_percent = round(100 * profit / self.book.price_cents)
        self.book.save(update_fields=["margin_percent"])

    def errored(self, error: BaseException, will_retry: bool) -> None:
        """Tell the shopkeeper, once nothing more will be tried."""
        if not will_retry:
            send_mail(
                subject=f"No margin for {self.book}",
                message=f"{type(error).__name__}: {error}\n\nA price of {self.book.price}?\n",
                from_email=None,
                recipient_list=[settings.SHOPKEEPER],
            )


class ImportCatalogue(Operation):
    """Read a supplier's catalogue, row by row. Running it twice does no harm: rows have a SKU."""

    file_name = models.CharField(max_length=100, default="catalogue.csv")
    books_created = models.PositiveIntegerField(default=0, editable=False)
    books_updated = models.PositiveIntegerField(default=0, editable=False)

    policy = Policy(queue="catalogue", priority=10)

    def run(self) -> None:
        with (DATA / self.file_name).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for done, row in enumerate(rows):
            if done % 20 == 0:
                self.progress(done, len(rows), f"{row['author']}: {row['title']}")
            self.take_over(row)
            time.sleep(BREATH)
        self.progress(len(rows), len(rows), f"{self.books_created} new books")
        self.save(update_fields=["books_created", "books_updated"])

    def take_over(self, row: dict[str, str]) -> None:
        """Create or update the book of one row, and count it."""
        values = {
            "title": row["title"],
            "author": row["author"],
            "year": int(row["year"]),
            "price_cents": int(Decimal(row["price"]) * 100),
            "cost_cents": int(Decimal(row["cost"]) * 100),
        }
        _, created = Book.objects.update_or_create(
            sku=row["sku"],
            defaults=values,
            create_defaults=values | {"stock": int(row["stock"])},
        )
        if created:
            self.books_created += 1
        else:
            self.books_updated += 1


class AskDelivery(Operation):
    """Ask all wholesalers at once how soon they deliver a book, and note the soonest."""

    book = models.ForeignKey(Book, on_delete=models.CASCADE)

    policy = Policy(queue="partners")

    class Meta:
        verbose_name_plural = "ask delivery"

    async def run(self) -> None:
        answers = await asyncio.gather(
            *(
                asyncio.to_thread(ask, f"/delivery/{wholesaler}/{self.book_id}")
                for wholesaler in WHOLESALERS
            )
        )
        soonest = min(answer["days"] for answer in answers)
        await Book.objects.filter(pk=self.book_id).aupdate(delivery_days=soonest)


class CountShelves(Operation):
    """Count the books, shelf by shelf, for half a minute; unless there is something better to do.

    A thread cannot be ended from outside, so it asks before each shelf whether it is to end.
    """

    policy = Policy(queue="chores")

    class Meta:
        proxy = True
        verbose_name_plural = "count shelves"

    def run(self) -> None:
        for shelf in range(1, SHELVES + 1):
            self.raise_if_aborted()
            self.progress(shelf, SHELVES, f"shelf {shelf}")
            time.sleep(0.1)


class WatchAuction(Operation):
    """Follow an auction for half a minute, and note how many bids there were.

    On the event loop an abort is a cancellation: it is raised at the `await`, and `finally` is the
    place to leave in good order.
    """

    bids = models.PositiveIntegerField(default=0, editable=False)

    policy = Policy(queue="partners")

    async def run(self) -> None:
        try:
            while self.bids < LAST_BID:
                await asyncio.sleep(0.1)
                self.bids += 1
        finally:
            await self.asave(update_fields=["bids"])


class ArrangeWindow(Operation):
    """Find the best order for thirteen books in the shop window: there are six billion orders.

    It computes and never looks up, so it has a process of its own, which can be killed.
    """

    policy = Policy(queue="chores", runner="processes", timeout=1, max_attempts=1)

    class Meta:
        proxy = True
        verbose_name_plural = "arrange window"

    def run(self) -> None:
        prices = list(Book.objects.order_by("sku").values_list("price_cents", flat=True)[:13])
        smoothest = min(permutations(prices), key=jumps)
        self.job.meta["window"] = smoothest


def jumps(prices: tuple[int, ...]) -> int:
    """Return how far the prices of neighbours are apart, all in all."""
    return sum(abs(one - other) for one, other in pairwise(prices))


class TrackParcel(Operation):
    """Ask the carrier where a parcel is. When he is away, two calls are enough to know it: the
    others wait, and one is tried now and then, until he is back.
    """

    number = models.CharField(max_length=20)
    whereabouts = models.CharField(max_length=100, blank=True, editable=False)

    policy = Policy(
        queue="partners",
        max_attempts=10,
        backoff=[0.1],
        circuit_breaker=CircuitBreaker(
            failures=2, within=60, cooldown=1, max_cooldown=10, on=[PartnerDown, OSError]
        ),
    )

    def run(self) -> None:
        self.whereabouts = ask(f"/parcels/{self.number}")["whereabouts"]
        self.save(update_fields=["whereabouts"])


class SweepBaskets(Operation):
    """Throw away baskets that nobody paid within 90 days."""

    policy = Policy(queue="chores", priority=-10)
    recurrences = [Recurring("0 4 * * *", time_zone="Europe/Berlin", name="sweep the shop")]

    class Meta:
        proxy = True
        verbose_name_plural = "sweep baskets"

    def run(self) -> None:
        long_ago = timezone.now() - timedelta(days=90)
        Basket.objects.filter(paid_at=None, filled_at__lt=long_ago).delete()
