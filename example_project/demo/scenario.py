"""What happens in the demo: which operations are scheduled, and what has to become of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

from example_project.shop.models import (
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
from operator_app import clock
from operator_app.models import Circuit, Operation, Recurrence

BAD_CALLS = 2
"""How many calls of each partner go wrong before the first good one."""

OFTEN = 3
"""How many slots the recurrence of the demo has."""

PARCELS = 6
"""How many parcels are looked for, of a carrier who is away for the first calls."""

MAILS = [
    "No margin for The Marginalia Catalogue",
    "Welcome to Marginalia",
    "Your books are waiting",
]
"""The subjects of the mails that are to be written."""


@dataclass(frozen=True)
class Step:
    """One operation, and how it has to end."""

    operation: Operation
    about: str
    becomes: str
    failures: int = 0
    stops: int = 0
    crashes: int = 0

    @property
    def name(self) -> str:
        """What the step is called on the screen."""
        return f"{type(self.operation).__name__} {self.about}".rstrip()

    def objection(self, now: Operation) -> str:
        """Return what is wrong with what became of the operation, or nothing."""
        wanted = (self.becomes, self.failures, self.stops, self.crashes)
        found = (now.state, now.failures, now.stops, now.crashes)
        if found == wanted:
            return ""
        return (
            "{}: {} with {} failures, {} stops and {} crashes, not {} with {}, {} and {}"
        ).format(self.name, *found, *wanted)


@dataclass(frozen=True)
class Effect:
    """Something that is otherwise in the shop, now that the operations have run."""

    text: str
    as_expected: bool


def schedule() -> list[Step]:
    """Schedule an operation for every way that one can go."""
    ada, bram = Customer.objects.filter(name__in=["Ada Quill", "Bram Folio"])
    forgotten = Basket.objects.get(customer__name="Clara Vellum")
    waiting = Basket.objects.get(customer__name="Dario Margin")
    jane_eyre = Book.objects.get(title="Jane Eyre")
    giveaway = Book.objects.get(price_cents=0)
    soon, next_week = timedelta(seconds=2), timedelta(weeks=1)
    reader = Customer.Rank.READER
    return [
        Step(WelcomeMail.dispatch(customer=ada), "Ada", "finished"),
        Step(RankUp.schedule(soon, customer=bram, rank=reader), "Bram", "finished"),
        Step(FetchRate.dispatch(currency="USD"), "USD", "finished", stops=BAD_CALLS),
        Step(RemindBasket.schedule(soon, basket=forgotten), "Clara", "cancelled"),
        Step(RemindBasket.schedule(soon, basket=waiting), "Dario", "finished"),
        Step(UpdateStock.dispatch(wholesaler="folio"), "", "finished", failures=BAD_CALLS),
        Step(ComputeMargin.dispatch(book=giveaway), "", "failed", failures=2),
        Step(ImportCatalogue.dispatch(), "", "finished"),
        Step(AskDelivery.dispatch(book=jane_eyre), "", "finished"),
        Step(SweepBaskets.dispatch(), "", "finished"),
        Step(CountShelves.dispatch(), "", "cancelled"),
        Step(WatchAuction.dispatch(), "", "cancelled"),
        Step(ArrangeWindow.dispatch(), "", "failed", failures=1),
        Step(RankUp.schedule(next_week, customer=ada, rank=reader), "Ada", "scheduled"),
    ]


def slow() -> Step:
    """Schedule the operation whose operator is going to be killed."""
    return Step(ImportCatalogue.dispatch(), "again", "finished", crashes=1)


def recur() -> Recurrence:
    """Have the shop swept every two seconds for a while, besides each night."""
    every_night = Recurrence.objects.get(name="sweep the shop")
    now = clock.now()
    return Recurrence.objects.create(
        name="sweep it often",
        kind=every_night.kind,
        expression="*/2 * * * * *",
        start_at=now,
        end_at=now + OFTEN * timedelta(seconds=2),
        missed="all",
    )


def is_swept(often: Recurrence) -> bool:
    """Whether it has been swept as often as it was to be."""
    made = often.slots.values("operation")
    return SweepBaskets.objects.finished().filter(pk__in=made).count() >= OFTEN


def track() -> None:
    """Look for parcels, all at once."""
    now = clock.now()
    parcels = [TrackParcel(number=f"P-{n}", should_run_at=now) for n in range(1, PARCELS + 1)]
    TrackParcel.schedule_many(parcels)


def are_tracked() -> bool:
    """Whether all parcels were found, or given up."""
    return not TrackParcel.objects.filter(finished_run_at=None, failed_run_at=None).exists()


def carrier() -> str:
    """Return what holds the search for parcels up now, or nothing."""
    circuit = Circuit.objects.open().select_related("pause").first()
    if circuit is None or circuit.pause is None:
        return ""
    return f"{circuit.pause.sentence}; {circuit.outlook(clock.now())}."


def meanwhile() -> Iterator[str]:
    """Let life go on before the operations are due, and yield what happened."""
    Basket.objects.get(customer__name="Clara Vellum").pay()
    yield "Clara pays her basket, so nobody needs to remind her."
    ignaz = Customer.objects.get(name="Ignaz Blot")
    RankUp.schedule(timedelta(weeks=1), customer=ignaz, rank=Customer.Rank.READER)
    before = Operation.objects.count()
    ignaz.delete()
    after = Operation.objects.count()
    yield f"Ignaz leaves; his pending RankUp goes with him: {before} operations, now {after}."


def call_off() -> str:
    """Ask the chores to abort, once both of them run; return what happened, or nothing."""
    chores = Operation.objects.of_kind(CountShelves, WatchAuction).running()
    if chores.filter(begun_run_at__isnull=False).count() < 2:
        return ""
    changed = chores.abort("a customer is at the door")
    return f"A customer is at the door, so two chores are asked to abort: {changed!r}"


def effects() -> list[Effect]:
    """Return what the operations changed."""
    return [*changes_in_the_shop(), *ends_from_outside(), slots(), parcels()]


def slots() -> Effect:
    """Return what became of the slots of the recurrence."""
    often = Recurrence.objects.get(name="sweep it often")
    seconds = [slot.second for slot in often.slots.order_by("slot").values_list("slot", flat=True)]
    expected = [(seconds[0] + 2 * n) % 60 for n in range(OFTEN)] if seconds else []
    text = f"{often.words}: swept at the seconds {', '.join(map(str, seconds))}, each once"
    return Effect(text, seconds == expected)


def parcels() -> Effect:
    """Return what became of the search for parcels."""
    found = TrackParcel.objects.finished().exclude(whereabouts="").count()
    failures = sum(TrackParcel.objects.values_list("failures", flat=True))
    is_closed = Circuit.objects.filter(pause=None).exists()
    again = "its circuit is closed again" if is_closed else "its circuit is open"
    text = f"{found} parcels were found, with {failures} calls to an absent carrier; {again}"
    return Effect(text, (found, failures, is_closed) == (PARCELS, BAD_CALLS, True))


def ends_from_outside() -> Iterator[Effect]:
    """Yield how soon what was to end has ended."""
    chores: tuple[type[Operation], ...] = (CountShelves, WatchAuction)
    for kind in chores:
        aborted = kind.all_objects.get()
        assert aborted.cancelled_at and aborted.abort_requested_at, aborted
        seconds = (aborted.cancelled_at - aborted.abort_requested_at).total_seconds()
        outcome = aborted.jobs.get().outcome
        yield Effect(
            f"{kind.__name__} was {outcome} {seconds:.1f} s after it was asked to abort",
            outcome == "aborted",
        )
    bids = WatchAuction.all_objects.get().bids
    yield Effect(f"WatchAuction noted the {bids} bids that it had seen before it left", bids > 0)
    dreamt = ArrangeWindow.objects.get()
    timed_out = dreamt.reason.startswith("OperationTimedOut")
    yield Effect(f"ArrangeWindow was killed with its process: {dreamt.reason}", timed_out)


def changes_in_the_shop() -> list[Effect]:
    """Return what the operations that ended by themselves changed."""
    bram = Customer.objects.get(name="Bram Folio")
    rate = ExchangeRate.objects.filter(currency="USD").first()
    counted = UpdateStock.objects.get().books_updated
    books = Book.objects.count()
    jane_eyre = Book.objects.get(title="Jane Eyre")
    old_baskets = Basket.objects.filter(customer__name="Edith Spine").count()
    mails = sorted(sent_mails())
    return [
        *(Effect(f"a mail: {subject}", subject in MAILS) for subject in mails),
        Effect(f"{len(mails)} mails in all, in {settings.MAIL_DIRECTORY}", mails == MAILS),
        Effect(f"{bram} is a {bram.rank}, was a beginner", bram.rank == Customer.Rank.READER),
        Effect(f"the bank says that {rate}", rate is not None),
        Effect(f"{counted} books have a new stock", counted == 12),
        Effect(f"{books} books are on sale, 13 were", books == 443),
        Effect(
            f"{jane_eyre} costs {jane_eyre.price} and comes within {jane_eyre.delivery_days} days",
            (jane_eyre.price_cents, jane_eyre.delivery_days) == (1490, 2),
        ),
        Effect(f"{old_baskets} baskets are older than 90 days, 1 was", old_baskets == 0),
    ]


def sent_mails() -> Iterator[str]:
    """Yield the subjects of all mails that the file backend wrote."""
    for file in settings.MAIL_DIRECTORY.glob("*.log"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("Subject: "):
                yield line.removeprefix("Subject: ")
