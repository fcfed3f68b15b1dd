"""The shop's partners, played by a web server of this process. They have bad moments."""

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

Trouble = Callable[[int], bool]
"""Tells whether the n-th call of a partner (n from 1) goes wrong."""

PLACES = ["in the depot", "on the road", "with a neighbour"]
RATES = {"USD": "1.0873", "GBP": "0.8412", "CHF": "0.9385"}


class Partners(ThreadingHTTPServer):
    """A bank, a carrier and some wholesalers on a free port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.trouble = trouble
        self.calls: Counter[str] = Counter()
        self.counting = Lock()

    @property
    def url(self) -> str:
        """Where the partners answer."""
        return f"http://127.0.0.1:{self.server_port}"

    def in_trouble(self, partner: str) -> bool:
        """Count a call of a partner, and tell whether it goes wrong."""
        with self.counting:
            self.calls[partner] += 1
            return self.trouble(self.calls[partner])


class Answer(BaseHTTPRequestHandler):
    """One answer: `/rates/USD`, `/stock/<wholesaler>`, `/delivery/<wholesaler>/<book>` or
    `/parcels/<number>`.
    """

    server: Partners

    def do_GET(self) -> None:
        """Answer, or fail as the partner at hand fails."""
        _, partner, name, *_ = [*self.path.split("/"), ""]
        partners = {
            "rates": self.rate,
            "stock": self.stock,
            "delivery": self.delivery,
            "parcels": self.parcel,
        }
        if partner in partners:
            partners[partner](name)
        else:
            self.send_error(404)

    def rate(self, currency: str) -> None:
        """The bank says what a euro is worth, or breaks down."""
        if self.server.in_trouble("bank"):
            return self.send_error(500)
        return self.answer(json.dumps({"currency": currency, "rate": RATES.get(currency, "1.0")}))

    def stock(self, wholesaler: str) -> None:
        """A wholesaler sends his list, or half of it."""
        stock = json.dumps(stock_list())
        cut_off = self.server.in_trouble(wholesaler)
        self.answer(stock[: len(stock) // 2] if cut_off else stock)

    def delivery(self, wholesaler: str) -> None:
        """A wholesaler thinks for a while, and says how soon he delivers."""
        time.sleep(0.3)
        self.answer(json.dumps({"wholesaler": wholesaler, "days": 2 + len(wholesaler) % 5}))

    def parcel(self, number: str) -> None:
        """The carrier says where a parcel is, or is away."""
        if self.server.in_trouble("carrier"):
            return self.send_error(503)
        place = PLACES[sum(map(ord, number)) % len(PLACES)]
        return self.answer(json.dumps({"number": number, "whereabouts": place}))

    def answer(self, body: str) -> None:
        """Send a body as JSON."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: the terminal belongs to the demo."""


def stock_list() -> dict[str, int]:
    """Return how many of the first dozen books the wholesalers have, more or less."""
    counts = itertools.cycle([12, 0, 7, 31, 4])
    return {
        f"MRG-{number}": count for number, count in zip(range(1001, 1013), counts, strict=False)
    }


@contextmanager
def partners(trouble: Trouble) -> Iterator[Partners]:
    """Have the partners answer while the block runs."""
    with Partners(trouble) as server:
        Thread(target=server.serve_forever, args=(0.1,), name="partners", daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
