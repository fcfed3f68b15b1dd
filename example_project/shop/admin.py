"""The shop behind the counter: its things, and its operations."""

# The stubs give ModelAdmin a type argument that Django itself does not take.
# mypy: disable-error-code="type-arg"

from django.contrib import admin
from django.contrib.admin import ModelAdmin

from operator_app.admin import OperationAdmin, OperationInline

from .models import (
    ArrangeWindow,
    AskDelivery,
    Basket,
    Book,
    ComputeMargin,
    CountShelves,
    Customer,
    ExchangeRate,
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


@admin.register(Book)
class BookAdmin(ModelAdmin):
    """Books, with what operations found out about them."""

    list_display = ["title", "author", "price", "stock", "margin_percent", "delivery_days"]
    search_fields = ["title", "author", "sku"]


class Promotions(OperationInline):
    """The promotions of a customer, those to come and those that were."""

    model = RankUp
    fields = [*OperationInline.fields, "rank"]
    with_ended = True
    verbose_name_plural = "promotions"


class Greetings(OperationInline):
    """The mails that are to greet him yet."""

    model = WelcomeMail


@admin.register(Customer)
class CustomerAdmin(ModelAdmin):
    """Customers, with what is to be done for them. Deleting one shows which pending operations go
    along.
    """

    list_display = ["name", "email", "rank", "joined_at"]
    list_filter = ["rank"]
    search_fields = ["name", "email"]
    inlines = [Promotions, Greetings]


@admin.register(Basket)
class BasketAdmin(ModelAdmin):
    """Baskets, paid or not."""

    list_display = ["__str__", "customer", "filled_at", "paid_at"]
    list_select_related = ["customer"]
    search_fields = ["customer__name"]
    autocomplete_fields = ["customer", "books"]


@admin.register(ExchangeRate)
class ExchangeRateAdmin(ModelAdmin):
    """What the bank answered last."""

    list_display = ["currency", "rate", "fetched_at"]


@admin.register(WelcomeMail)
class WelcomeMailAdmin(OperationAdmin):
    """Greetings."""

    list_display = [*OperationAdmin.list_display, "customer"]
    autocomplete_fields = ["customer"]


@admin.register(RankUp)
class RankUpAdmin(OperationAdmin):
    """Promotions to come, and those that were."""

    list_display = [*OperationAdmin.list_display, "customer", "rank"]
    autocomplete_fields = ["customer"]


@admin.register(FetchRate)
class FetchRateAdmin(OperationAdmin):
    """Questions to the bank."""

    list_display = [*OperationAdmin.list_display, "currency"]


@admin.register(RemindBasket)
class RemindBasketAdmin(OperationAdmin):
    """Reminders, many of them cancelled because somebody paid."""

    list_display = [*OperationAdmin.list_display, "basket"]
    list_select_related = ["basket__customer"]
    autocomplete_fields = ["basket"]


@admin.register(UpdateStock)
class UpdateStockAdmin(OperationAdmin):
    """Stock lists."""

    list_display = [*OperationAdmin.list_display, "wholesaler", "books_updated"]
    readonly_fields = ["books_updated"]


@admin.register(ImportCatalogue)
class ImportCatalogueAdmin(OperationAdmin):
    """Imports, with what they brought."""

    list_display = [*OperationAdmin.list_display, "file_name", "books_created", "books_updated"]
    readonly_fields = ["books_created", "books_updated"]


@admin.register(ComputeMargin, AskDelivery)
class BookOperationAdmin(OperationAdmin):
    """What is done for one book."""

    list_display = [*OperationAdmin.list_display, "book"]
    autocomplete_fields = ["book"]


@admin.register(WatchAuction)
class WatchAuctionAdmin(OperationAdmin):
    """Auctions, with what was seen of them."""

    list_display = [*OperationAdmin.list_display, "bids"]
    readonly_fields = ["bids"]


@admin.register(TrackParcel)
class TrackParcelAdmin(OperationAdmin):
    """Parcels, and where they are."""

    list_display = [*OperationAdmin.list_display, "number", "whereabouts"]
    readonly_fields = ["whereabouts"]


admin.site.register([ArrangeWindow, CountShelves, SweepBaskets], OperationAdmin)
