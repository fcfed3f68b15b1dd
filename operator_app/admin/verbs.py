"""What people do to operations: each verb with its permission, its words and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db.models import Q
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.models import Changed, states

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

PENDING: Final = frozenset({"scheduled", "due"})
OVER: Final = frozenset({"failed", "cancelled"})
STARTED: Final = frozenset({"running", "stuck"})


class Wish(NamedTuple):
    """Who wants it, and for when."""

    by: str
    when: datetime | None = None


@dataclass(frozen=True)
class Verb:
    """Something that people do to operations.

    Args:
        action: the name of the admin's action.
        permission: which permission it takes.
        title: the question that is asked before.
        states: of which operations it changes some or all.
        will: what is going to happen to these.
        done: what is said of those that were changed.
        left: what is said of those that were left alone.
        note: what the admin's log says of one of them.
        pick: narrows operations to those that it would change.
        do: changes operations, and returns how many; None where the admin has to, which knows what
            goes along.
        takes_time: whether a time has to be chosen.
    """

    action: str
    permission: str
    title: Words
    states: frozenset[str]
    will: Words
    done: Words
    left: Words
    note: Words
    pick: Callable[[Any], Any]
    do: Callable[[Any, Wish], Changed] | None
    takes_time: bool = False

    def tell(self, changed: Changed) -> list[str]:
        """Return what is said of those that were changed, and of those that were cancelled instead:
        a text for each, at least the first.
        """
        done = int(changed) - changed.aborted
        said = [str(self.done % {"count": done})] if done or not changed.aborted else []
        return said + ([str(ABORTED % {"count": changed.aborted})] if changed.aborted else [])


KEY_TAKEN: Final = ngettext_lazy(
    "%(count)d operation was left alone: another one with its unique key has not ended.",
    "%(count)d operations were left alone: others with their unique keys have not ended.",
    "count",
)
FORBIDDEN: Final = ngettext_lazy(
    "%(count)d operation was left alone: it is of a kind that you may not do this to.",
    "%(count)d operations were left alone: they are of kinds that you may not do this to.",
    "count",
)

ABORTED: Final = ngettext_lazy(
    "%(count)d operation was cancelled: it had been asked to abort.",
    "%(count)d operations were cancelled: they had been asked to abort.",
    "count",
)
ABORTED_NOTE: Final = _("Cancelled: it had been asked to abort.")
"""What is said, and what the admin's log says, of those that a lost operator held and that were not
given back.
"""

RUN_NOW: Final = Verb(
    action="run_selected_now",
    permission="run",
    title=_("Run them now?"),
    states=frozenset({"scheduled"}),
    will=_("will be due now"),
    done=ngettext_lazy(
        "%(count)d operation is due now.", "%(count)d operations are due now.", "count"
    ),
    left=ngettext_lazy(
        "%(count)d operation was left alone: it was not waiting for a later time.",
        "%(count)d operations were left alone: they were not waiting for a later time.",
        "count",
    ),
    note=_("Due now, by an action."),
    pick=lambda rows: rows.scheduled(),
    do=lambda rows, wish: rows.run_now(),
)
RESCHEDULE: Final = Verb(
    action="reschedule_selected",
    permission="change",
    title=_("Let them run at another time?"),
    states=PENDING,
    will=_("will be due at the time below"),
    done=ngettext_lazy(
        "%(count)d operation was rescheduled.", "%(count)d operations were rescheduled.", "count"
    ),
    left=ngettext_lazy(
        "%(count)d operation was left alone: it was not pending any more.",
        "%(count)d operations were left alone: they were not pending any more.",
        "count",
    ),
    note=_("Rescheduled, by an action."),
    pick=lambda rows: rows.pending(),
    do=lambda rows, wish: rows.reschedule(wish.when),
    takes_time=True,
)
RETRY: Final = Verb(
    action="retry_selected",
    permission="retry",
    title=_("Let them begin anew?"),
    states=OVER,
    will=_("will begin anew, now"),
    done=ngettext_lazy(
        "%(count)d operation begins anew.", "%(count)d operations begin anew.", "count"
    ),
    left=ngettext_lazy(
        "%(count)d operation was left alone: it had neither failed nor been cancelled.",
        "%(count)d operations were left alone: they had neither failed nor been cancelled.",
        "count",
    ),
    note=_("Retried, by an action."),
    pick=lambda rows: rows.filter(Q(failed_run_at__isnull=False) | Q(cancelled_at__isnull=False)),
    do=lambda rows, wish: rows.retry(),
)
CANCEL: Final = Verb(
    action="cancel_selected",
    permission="cancel",
    title=_("Cancel them?"),
    states=PENDING,
    will=_("will be cancelled"),
    done=ngettext_lazy(
        "%(count)d operation was cancelled.", "%(count)d operations were cancelled.", "count"
    ),
    left=RESCHEDULE.left,
    note=_("Cancelled, by an action."),
    pick=lambda rows: rows.pending(),
    do=lambda rows, wish: rows.cancel(gettext("cancelled by %s in the admin") % wish.by),
)
ABORT: Final = Verb(
    action="abort_selected",
    permission="abort",
    title=_("Ask them to abort?"),
    states=STARTED,
    will=_("will be asked to abort"),
    done=ngettext_lazy(
        "%(count)d operation was asked to abort.",
        "%(count)d operations were asked to abort.",
        "count",
    ),
    left=ngettext_lazy(
        "%(count)d operation was not running, or had been asked before.",
        "%(count)d operations were not running, or had been asked before.",
        "count",
    ),
    note=_("Asked to abort, by an action."),
    pick=lambda rows: rows.started().filter(abort_requested_at__isnull=True),
    do=lambda rows, wish: rows.abort(gettext("abort requested by %s in the admin") % wish.by),
)
RELEASE: Final = Verb(
    action="release_selected",
    permission="retry",
    title=_("Take them from lost operators?"),
    states=frozenset({"stuck"}),
    will=_("will be given back, if their operators were declared lost"),
    done=ngettext_lazy(
        "%(count)d operation was given back.", "%(count)d operations were given back.", "count"
    ),
    left=ngettext_lazy(
        "%(count)d operation was left alone: no lost operator held it.",
        "%(count)d operations were left alone: no lost operator held them.",
        "count",
    ),
    note=_("Taken from a lost operator, by an action."),
    pick=lambda rows: rows.deserted(clock.now(rows.db)).filter(operator_id__isnull=False),
    do=lambda rows, wish: rows.release(),
)
DELETE: Final = Verb(
    action="delete_selected",
    permission="delete",
    title=_("Delete them?"),
    states=PENDING | OVER | {"finished"},
    will=_("will be deleted for good, with all that hangs on them"),
    done=ngettext_lazy(
        "%(count)d operation was deleted.", "%(count)d operations were deleted.", "count"
    ),
    left=ngettext_lazy(
        "%(count)d operation is claimed by an operator and is left alone.",
        "%(count)d operations are claimed by an operator and are left alone.",
        "count",
    ),
    note=_("Deleted, by an action."),
    pick=lambda rows: rows.exclude(states.STARTED),
    do=None,
)
VERBS: Final = {
    verb.action: verb for verb in (RUN_NOW, RESCHEDULE, RETRY, CANCEL, ABORT, RELEASE, DELETE)
}
"""The verbs by the names of their actions."""
