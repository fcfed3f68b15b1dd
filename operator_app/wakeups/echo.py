"""A call that an operator makes to itself, to find out whether calls arrive."""

from __future__ import annotations

import time
from typing import Final
from uuid import uuid4

PREFIX: Final = "operator_app_echo_"


class Echo:
    """Counts what was called and what was heard of it.

    That a session may LISTEN does not mean that it hears. Behind a pooler that lends sessions for
    a transaction (PgBouncer), what is heard goes to a session that nobody holds; and a connection
    whose other end has vanished says nothing at all. So each heartbeat, which is sent through
    another session, calls, and has to be heard before the next one.
    """

    def __init__(self) -> None:
        self.channel = f"{PREFIX}{uuid4().hex}"
        """Which nobody else listens to."""
        self.count = 0
        """How many calls were made."""
        self._heard = 0
        self._lost_since: float | None = None
        self.is_heard = False
        """Whether calls arrive, as far as is known."""
        self.is_lost = False
        """Whether calls do not arrive; at first neither is known."""

    @property
    def next_call(self) -> tuple[str, str]:
        """The channel and the text of the next call."""
        return self.channel, str(self.count + 1)

    def called(self) -> None:
        """Note that the next call was made, and committed."""
        self.count += 1
        if self._heard < self.count - 1:
            self.lost()

    def heard(self, text: str) -> None:
        """Note that a call has arrived; from the thread that listens."""
        self._heard = max(self._heard, int(text))
        self._lost_since = None
        self.is_heard, self.is_lost = True, False

    def lost(self) -> None:
        """Note that calls do not arrive."""
        if self._lost_since is None:
            self._lost_since = time.monotonic()
        self.is_heard, self.is_lost = False, True

    @property
    def lost_for(self) -> float:
        """For how many seconds calls have not arrived; 0 as long as they do, or might."""
        since = self._lost_since
        return 0.0 if since is None else time.monotonic() - since

    def is_deaf(self, since: int) -> bool:
        """Whether nothing was heard though two calls were made after `count` was `since`."""
        return self.count - max(since, self._heard) >= 2
