"""The shop's kinds with values for their own columns; and how long each usually runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, NamedTuple

from example_project.shop import models as shop
from example_project.shop.partners import WHOLESALERS
from operator_app.models import Operation

CUSTOMERS: Final = range(1, 7)
BOOKS: Final = range(1, 14)
BASKETS: Final = range(1, 4)
"""The primary keys in the shop's fixture."""

FILES: Final = ["catalogue.csv", "spring.csv", "remainders.csv"]
PLACES: Final = ["", "Rotterdam", "Basel", "on the van", "at the neighbour's"]


class Kind(NamedTuple):
    """A kind to make operations of."""

    model: type[Operation]
    took: float
    """Seconds that a run takes, more or less."""
    own: Callable[[Random], Mapping[str, Any]] | None = None
    """Values for the columns of its own table; None if it has none."""


KINDS: Final = [
    Kind(shop.WelcomeMail, 0.3, lambda r: {"customer_id": r.choice(CUSTOMERS)}),
    Kind(
        shop.RankUp,
        0.05,
        lambda r: {
            "customer_id": r.choice(CUSTOMERS),
            "rank": r.choice(shop.Customer.Rank.values),
        },
    ),
    Kind(shop.FetchRate, 0.8, lambda r: {"currency": r.choice(["USD", "GBP", "JPY", "CHF"])}),
    Kind(shop.RemindBasket, 0.4, lambda r: {"basket_id": r.choice(BASKETS)}),
    Kind(
        shop.UpdateStock,
        2.0,
        lambda r: {"wholesaler": r.choice(WHOLESALERS), "books_updated": r.randrange(14)},
    ),
    Kind(shop.ComputeMargin, 0.02, lambda r: {"book_id": r.choice(BOOKS)}),
    Kind(
        shop.ImportCatalogue,
        30.0,
        lambda r: {
            "file_name": r.choice(FILES),
            "books_created": r.randrange(40),
            "books_updated": r.randrange(400),
        },
    ),
    Kind(shop.AskDelivery, 1.2, lambda r: {"book_id": r.choice(BOOKS)}),
    Kind(shop.CountShelves, 30.0),
    Kind(shop.WatchAuction, 25.0, lambda r: {"bids": r.randrange(300)}),
    Kind(shop.ArrangeWindow, 0.9),
    Kind(
        shop.TrackParcel,
        0.5,
        lambda r: {"number": f"P-{r.randrange(1000, 10_000)}", "whereabouts": r.choice(PLACES)},
    ),
    Kind(shop.SweepBaskets, 1.5),
]
