"""What the shop has, and what it does."""

from .operations import (
    ArrangeWindow,
    AskDelivery,
    ComputeMargin,
    CountShelves,
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
from .things import Basket, Book, Customer, ExchangeRate

__all__ = [
    "ArrangeWindow",
    "AskDelivery",
    "Basket",
    "Book",
    "ComputeMargin",
    "CountShelves",
    "Customer",
    "ExchangeRate",
    "FetchRate",
    "ImportCatalogue",
    "RankUp",
    "RemindBasket",
    "SweepBaskets",
    "TrackParcel",
    "UpdateStock",
    "WatchAuction",
    "WelcomeMail",
]
