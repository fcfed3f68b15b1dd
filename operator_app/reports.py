"""What an error leaves behind: strings that any database can hold."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Final

from operator_app.fingerprint import fingerprint

MESSAGE_LIMIT: Final = 2_000
TRACEBACK_LIMIT: Final = 64_000
REASON_LIMIT: Final = 255


@dataclass(frozen=True)
class ErrorReport:
    """An error as text: its class's dotted path, its message, its traceback; and what errors of its
    sort share.
    """

    exception_class: str
    message: str
    traceback: str
    fingerprint: str = ""

    @classmethod
    def of(cls, error: BaseException) -> ErrorReport:
        """Return the report of `error`. Never raises, whatever its `__str__` does. No queries."""
        kind = type(error)
        return cls(
            exception_class=f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
            message=shortened(text_of(error), MESSAGE_LIMIT),
            traceback=shortened(_trace(error), TRACEBACK_LIMIT),
            fingerprint=fingerprint(error),
        )

    def __str__(self) -> str:
        name = self.exception_class.rpartition(".")[2]
        return f"{name}: {self.message}" if self.message else name


def storable(text: str) -> str:
    """Return `text` without what a database refuses: NUL (PostgreSQL) and lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def shortened(text: str, limit: int) -> str:
    """Return storable `text` of at most `limit` characters; what is cut is cut from its middle,
    since a traceback says where it began at its start and what went wrong at its end.
    """
    text = storable(text)
    if len(text) <= limit:
        return text
    mark = f" … {len(text) - limit:,} characters cut … "
    if limit <= 2 * len(mark):
        return text[: limit - 1] + "…"
    head = (limit - len(mark)) // 3
    return text[:head] + mark + text[len(text) - (limit - len(mark) - head) :]


def text_of(value: object) -> str:
    """Return `str(value)`, or what that raised."""
    try:
        return str(value)
    except BaseException as second:
        return f"(its __str__ raised {type(second).__name__})"


def _trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException as second:
        return f"(formatting the traceback raised {type(second).__name__})"
