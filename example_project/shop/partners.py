"""Talks to the shop's partners: a bank that knows exchange rates, a carrier, three wholesalers."""

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from django.conf import settings

WHOLESALERS = ["pennyworth", "quire-and-sons", "folio"]
TIMEOUT = 5

# The partners of the example are on this machine, where a proxy of the environment has no business.
_opener = build_opener(ProxyHandler({}))


class PartnerDown(Exception):
    """A partner has trouble of its own (a 5xx), which may be over soon."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the partner answered {status}")
        self.status = status


def ask(path: str) -> Any:
    """GET a path from the partners and return the JSON that they answer.

    Raises:
        PartnerDown: for an answer of 500 or above.
        urllib.error.HTTPError: for another answer that is not 200.
        OSError: if nobody answers in time.
        ValueError: for an answer that is no JSON.
    """
    try:
        with _opener.open(settings.PARTNERS_URL + path, timeout=TIMEOUT) as answer:
            return json.loads(answer.read())
    except HTTPError as error:
        error.close()
        if error.code >= 500:
            raise PartnerDown(error.code) from error
        raise
