"""What the shop has, and what it does."""

from .operations import (
    AskDelivery,
    ComputeMargin,
    FetchRate,
    ImportCatalogue,
    RankUp,
    RemindBasket,
    SweepBaskets,
    UpdateStock,
    WelcomeMail,
)
from .things import Basket, Book, Customer, ExchangeRate

__all__ = [
    "AskDelivery",
    "Basket",
    "Book",
    "ComputeMargin",
    "Customer",
    "ExchangeRate",
    "FetchRate",
    "ImportCatalogue",
    "RankUp",
    "RemindBasket",
    "SweepBaskets",
    "UpdateStock",
    "WelcomeMail",
]
