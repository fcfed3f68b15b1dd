"""A slot: a thread that owns one child process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from operator_app import conf, log
from operator_app.child import Ending
from operator_app.exceptions import OperatorLost
from operator_app.models import OperationJob
from operator_app.models.connections import reset
from operator_app.outcomes import Outcome
from operator_app.reports import ErrorReport
from operator_app.runners import endings
from operator_app.runners.books import Books, Place
from operator_app.runners.children import Child, NotBegun, NotStarted

IDLE_LOOK: Final = 5.0
"""Seconds between two looks at a child that has nothing to do: a dead one is not kept around."""
TRIES: Final = 2
"""How many children may die before one has begun with a job."""

Objection = Callable[[OperationJob], Outcome | None]
"""Asked right before a job is sent to a child; it ends with what is returned, if anything is."""


class Slot(threading.Thread):
    """Runs one job after the other in a child that is started when it is first needed, and replaced
    when it has died or is worn out.

    Args:
        name: of the thread and its children.
        books: where the jobs come from and go to.
        objection: see there.
        starts: told whether a child could be started: None if so, otherwise what was wrong.
    """

    def __init__(
        self,
        name: str,
        books: Books,
        objection: Objection,
        starts: Callable[[NotStarted | None], None],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._books = books
        self._objection = objection
        self._starts = starts
        self._child: Child | None = None

    def kill(self) -> None:
        """Kill the child. From any thread."""
        if (child := self._child) is not None:
            child.kill()

    def stack(self) -> str:
        """Return where the child is: see `Child.stack()`. From any thread."""
        return "" if (child := self._child) is None else child.stack()

    def run(self) -> None:
        """Serve until the books are closed; then let the child leave."""
        while not self._books.is_closed:
            place = self._books.assign(self, IDLE_LOOK)
            try:
                if place is None:
                    self._drop_unusable()
                else:
                    self._serve(place)
                    # This thread asks the database next to nothing, and nobody else tidies up.
                    reset()
            except BaseException:
                # What run() raises is an outcome; this is an error of the engine.
                log.logger.exception(
                    "A runner's slot met an error of its own.", extra={"action": "engine_raised"}
                )
                self._drop()
                if place is not None:
                    endings.release(place.job, "the engine met an error of its own")
                    self._books.hand_over(place)
        if self._child is not None:
            self._child.retire()

    def _serve(self, place: Place) -> None:
        """Have the job run, and hand it over; release it if no child could begin with it."""
        job = place.job
        for left in reversed(range(TRIES)):
            try:
                self._try(place)
            except NotStarted as trouble:
                if not self._books.has(place):
                    return  # Taken back or abandoned; the child may have been killed for that.
                if job.interruption is not None:
                    endings.interrupt(job, job.interruption)
                elif left and isinstance(trouble, NotBegun):
                    self._books.unsend(place)
                    continue
                else:
                    self._starts(trouble)
                    endings.release(job, f"no child process could run it: {trouble}")
            break
        self._books.hand_over(place)

    def _try(self, place: Place) -> None:
        """Have the job run in the child.

        Raises:
            NotStarted: if there is no child.
            NotBegun: if it died before it began with the job.
        """
        child, job = self._ready_child(), place.job
        if not self._may_begin(place):
            return
        try:
            operator = (job.holder_id, job.operator)
            answer = child.run((job.alias, job.operation_id, job.number, *operator))
        except NotBegun:
            self._child = None
            raise
        except OperatorLost as error:
            self._child = None
            if job.interruption is not None:
                endings.interrupt(job, job.interruption)
            elif self._books.has(place):
                endings.crash(job, error)
            return
        self._starts(None)
        if isinstance(answer, Ending):
            endings.tell(job, answer)
        else:
            endings.release(job, f"its child process could not run it: {answer.reason}")

    def _may_begin(self, place: Place) -> bool:
        """Whether the job goes to the child now: nobody has taken it back, and nothing objects."""
        if not self._books.has(place):
            return False
        if (outcome := self._objection(place.job)) is not None:
            place.job.end_as(outcome)
            return False
        return self._books.send(place)

    def _ready_child(self) -> Child:
        self._drop_unusable()
        if self._child is None:
            try:
                self._child = Child(self.name)
            except Exception as error:
                raise NotStarted(str(ErrorReport.of(error))) from error
            if self._books.is_closed:
                self._child.kill()
            try:
                self._child.wait_until_ready()
            except NotStarted:
                self._child = None
                raise
        return self._child

    def _drop_unusable(self) -> None:
        """Do away with a child that has died, and with one that has run enough for what it may have
        leaked.
        """
        if self._child is not None and not self._child.is_usable:
            self._drop()
        elif self._child is not None and self._child.jobs >= conf.get().CHILD_OPERATIONS:
            self._child.retire()
            self._child = None

    def _drop(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None
