"""Suspects, one at a time, each alone in a child process: whoever it ran when it died is guilty."""

from __future__ import annotations

from operator_app.runners.base import Done
from operator_app.runners.processes import ProcessRunner


class Quarantine(ProcessRunner):
    """Runs operations that were held by an operator when it died. One of them may have killed it.

    The first crash makes everything that the operator held a suspect, since nobody can tell who it
    was. Run one by one in a child process, the guilty one kills only the child, and only it is
    charged. That a suspect begins is written down right before it does.
    """

    def __init__(self, done: Done) -> None:
        super().__init__(1, done)

    @property
    def free(self) -> int:
        """One if there is no suspect at all; those that are claimed go first."""
        return int(self.is_idle)
