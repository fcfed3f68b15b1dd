"""What the shop has: books, customers, baskets and exchange rates. Ordinary Django models."""

from decimal import Decimal

from django.db import models
from django.utils import timezone


class Book(models.Model):
    """A title that the shop sells. Amounts of money are in cents."""

    sku = models.CharField("SKU", max_length=20, unique=True)
    title = models.CharField(max_length=200)
    author = models.CharField(max_length=100)
    year = models.PositiveSmallIntegerField()
    price_cents = models.PositiveIntegerField()
    cost_cents = models.PositiveIntegerField()
    stock = models.PositiveIntegerField(default=0)
    margin_percent = models.SmallIntegerField(null=True, blank=True)
    delivery_days = models.PositiveSmallIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["title"]

    def __str__(self) -> str:
        return self.title

    @property
    def price(self) -> str:
        """The price as customers read it."""
        return f"{Decimal(self.price_cents) / 100:.2f} €"


class Customer(models.Model):
    """Someone who buys books, and rises in rank with them."""

    class Rank(models.TextChoices):
        """How well the shop knows a customer."""

        BEGINNER = "beginner", "Beginner"
        READER = "reader", "Reader"
        BOOKWORM = "bookworm", "Bookworm"

    name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)
    rank = models.CharField(max_length=20, choices=Rank, default=Rank.BEGINNER)
    joined_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def promote(self, rank: str) -> None:
        """Give the customer this rank."""
        self.rank = rank
        self.save(update_fields=["rank"])


class Basket(models.Model):
    """Books that a customer put aside; an order once it is paid."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="baskets")
    books = models.ManyToManyField(Book, related_name="baskets")
    filled_at = models.DateTimeField(default=timezone.now)
    paid_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-filled_at"]

    def __str__(self) -> str:
        return f"Basket {self.pk} of {self.customer}"

    def pay(self) -> None:
        """Turn the basket into an order."""
        self.paid_at = timezone.now()
        self.save(update_fields=["paid_at"])


class ExchangeRate(models.Model):
    """What one euro is worth in another currency, and since when the shop knows."""

    currency = models.CharField(max_length=3, unique=True)
    rate = models.DecimalField(max_digits=12, decimal_places=4)
    fetched_at = models.DateTimeField()

    class Meta:
        ordering = ["currency"]

    def __str__(self) -> str:
        return f"1 EUR = {self.rate} {self.currency}"
