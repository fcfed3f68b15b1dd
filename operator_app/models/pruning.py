"""Old ended operations are deleted, with all that hangs on them; a few at a time.

Those that have finished are in no index: every index is paid for by each operation. But ids grow
with time, so the old ones are found by walking along the primary key, and the walk is over where
everything is too young to have ended that long ago.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, OperationalError
from django.db.models import Model, ProtectedError, QuerySet, RestrictedError

from operator_app import conf
from operator_app.models import kinds, states
from operator_app.models.among import Among
from operator_app.models.transactions import in_transaction, is_locked, unlocked
from operator_app.retention import ATTEMPTS, SLOTS, STATES, seconds_of

WINDOW: Final = 1_000
"""How many rows are looked at with one query."""
CHUNK: Final = 200
"""How many operations are deleted in one transaction: operators wait for it."""
LEEWAY: Final = timedelta(hours=1)
"""By how much ids and times may disagree: clocks are set, and transactions are long."""


@dataclass(frozen=True)
class Rules:
    """Which ended operations go: in which state, and how many seconds after they have ended.

    Args:
        general: seconds by state, for all kinds.
        by_kind: the same for single kinds, in place of `general`, by their ids.
    """

    general: Mapping[str, float]
    by_kind: Mapping[int, Mapping[str, float]] = field(default_factory=dict)

    @property
    def are_empty(self) -> bool:
        """Whether nothing ever goes."""
        return not self.general and not any(self.by_kind.values())

    @property
    def of_operations(self) -> Rules:
        """Those about operations that have ended."""
        return self._only(STATES)

    @property
    def of_attempts(self) -> Rules:
        """Those about old attempts of operations that have not."""
        return self._only((ATTEMPTS,))

    @property
    def of_slots(self) -> Rules:
        """Those about slots of recurrences."""
        return self._only((SLOTS,))

    def _only(self, names: Collection[str]) -> Rules:
        def part(rule: Mapping[str, float]) -> dict[str, float]:
            return {name: seconds for name, seconds in rule.items() if name in names}

        return Rules(part(self.general), {pk: part(rule) for pk, rule in self.by_kind.items()})

    def horizon(self, now: datetime) -> datetime:
        """Return the moment after which nothing that goes can have been scheduled."""
        rules = [self.general, *self.by_kind.values()]
        youngest = min(seconds for rule in rules for seconds in rule.values())
        return now - timedelta(seconds=youngest)

    def state_if_old(self, kind_id: int, endings: Iterable[datetime | None], now: datetime) -> str:
        """Return the state of an operation that is to go; empty for one that stays."""
        rule = self.by_kind.get(kind_id, self.general)
        for state, ended_at in zip(STATES, endings, strict=True):
            if ended_at is not None and state in rule:
                age = (now - ended_at).total_seconds()
                return state if age >= rule[state] else ""
        return ""


@dataclass
class Pruned:
    """What was done, or would be."""

    counts: Counter[str] = field(default_factory=Counter)
    """How many went, by state; attempts and slots by these names."""
    kept: int = 0
    """How many stayed, as something protects them."""
    after: int = 0
    """The id up to which the table was looked at."""
    is_over: bool = False
    """Whether there is nothing more to look at."""

    def add(self, step: Pruned) -> None:
        """Count in what was done in the next step."""
        self.counts.update(step.counts)
        self.kept += step.kept
        self.after, self.is_over = step.after, step.is_over

    @property
    def parts(self) -> list[str]:
        """How many went, state by state, for people."""
        return [f"{number:,} {state}" for state, number in sorted(self.counts.items())]


def rules_of_settings(alias: str) -> Rules:
    """Return the rules of `OPERATOR["RETENTION"]` and of the policies of all kinds. One query."""
    general = dict(conf.get().RETENTION)
    by_kind = {}
    for kind_id, model in kinds.stored_kinds(alias).items():
        own = model.resolved_policy().retention
        if isinstance(own, Mapping) and own:
            by_kind[kind_id] = seconds_of({**general, **own})
    return Rules(seconds_of(general), by_kind)


def prune_next(
    rules: Rules, now: datetime, alias: str, *, after: int = 0, dry_run: bool = False
) -> Pruned:
    """Look at the next rows of the table, and delete those that are to go.

    One query; for each 200 that go a transaction with a SELECT that locks them, as far as nobody
    else has, and what `QuerySet.delete()` needs for each kind.

    Args:
        rules: which go, of operations; not empty.
        now: the database's time.
        alias: the database.
        after: the id from which on to look.
        dry_run: whether to count only.
    """
    columns = ("pk", "created_at", "kind_id", *states.ENDINGS)
    window, done = look(kinds.operations(alias), columns, rules, now, after)
    old: dict[int, str] = {}
    for pk, _, kind_id, *endings in window:
        if state := rules.state_if_old(kind_id, endings, now):
            old[pk] = state
    if dry_run:
        done.counts.update(old.values())
        return done
    ids = list(old)
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        gone = _delete_apart(chunk, alias)
        done.counts.update(old[pk] for pk in gone)
        done.kept += len(chunk) - len(gone)
    return done


def prune(
    rules: Rules,
    now: datetime,
    alias: str,
    *,
    dry_run: bool = False,
    progress: Callable[[Pruned], object] = bool,
) -> Pruned:
    """Do all of it, operations first: see `prune_next()` here, of attempts and of slots.

    Args:
        progress: called after each step among the operations with what was done so far.
    """
    total = Pruned()
    for own, walk in walks(rules):
        total.after, total.is_over = 0, False
        while not total.is_over:
            total.add(walk(own, now, alias, after=total.after, dry_run=dry_run))
            if walk is prune_next:
                progress(total)
    return total


def walks(rules: Rules) -> list[tuple[Rules, Callable[..., Pruned]]]:
    """Return what these rules want: which of them, and the walk through the table of those."""
    from operator_app.models import attempt_pruning, slot_pruning

    # Slots after their operations.
    wanted = (
        (rules.of_operations, prune_next),
        (rules.of_attempts, attempt_pruning.prune_next),
        (rules.of_slots, slot_pruning.prune_next),
    )
    return [(own, walk) for own, walk in wanted if not own.are_empty]


def look(
    rows: QuerySet[Any], columns: Sequence[str], rules: Rules, now: datetime, after: int
) -> tuple[list[Any], Pruned]:
    """Return the next rows of a walk, as tuples, and what is known of this step so far. One query.

    Args:
        rows: of the table.
        columns: what to read: the id, when the row was made or later, and what decides.
        rules: which of them go.
        now: the database's time.
        after: the id of the row from which on to look.
    """
    window = list(rows.filter(pk__gt=after).order_by("pk").values_list(*columns)[:WINDOW])
    horizon = rules.horizon(now) + LEEWAY
    done = Pruned(after=window[-1][0] if window else after)
    done.is_over = len(window) < WINDOW or all(row[1] > horizon for row in window)
    return window, done


def delete_old(model: type[Model], ids: list[int], name: str, done: Pruned, alias: str) -> None:
    """Delete those of these rows that nobody has locked, in a transaction, and count them by this
    name. A SELECT that locks them, and what `QuerySet.delete()` needs.
    """

    def delete() -> list[int]:
        rows = model._base_manager.using(alias)
        found = unlocked(rows.filter(Among(ids)).order_by("pk").values_list("pk", flat=True))
        rows.filter(Among(found)).delete()
        return found

    gone = in_transaction(alias, delete)
    done.kept = len(ids) - len(gone)
    done.counts += Counter({name: len(gone)})


def _delete_apart(ids: list[int], alias: str) -> list[int]:
    """Delete those of these operations that can go, in a transaction, in more of them if the
    database refuses some: another project's table may refer to them, or that of a class which this
    process does not know. Return which. None go if somebody has locked what would go along.
    """
    try:
        return in_transaction(alias, lambda: _delete(ids, alias))
    except IntegrityError:
        if len(ids) == 1:
            return []
    except OperationalError as error:
        if not is_locked(error):
            raise
        return []
    middle = len(ids) // 2
    return [*_delete_apart(ids[:middle], alias), *_delete_apart(ids[middle:], alias)]


def _delete(ids: list[int], alias: str) -> list[int]:
    """Delete those of these operations that have still ended and that nobody has locked; return
    which.
    """
    ended = kinds.operations(alias).filter(Among(ids)).exclude(states.NOT_ENDED).order_by("pk")
    found = unlocked(ended.values_list("pk", "kind_id"))
    by_kind: dict[int, list[int]] = {}
    for pk, kind_id in found:
        by_kind.setdefault(kind_id, []).append(pk)
    return [pk for kind_id, group in by_kind.items() for pk in _delete_kind(kind_id, group, alias)]


def _delete_kind(kind_id: int, ids: list[int], alias: str) -> Iterator[int]:
    """Delete operations of one kind; where something protects one of them, one by one."""
    # By the class, so that Django looks for the rows of one table more, and not of all kinds'.
    model: Any = kinds.model_of(kind_id, alias) or kinds.base()
    rows = model._base_manager.using(alias)
    try:
        rows.filter(pk__in=ids).delete()
    except (ProtectedError, RestrictedError):
        if len(ids) == 1:
            return
        for pk in ids:
            yield from _delete_kind(kind_id, [pk], alias)
    else:
        yield from ids
