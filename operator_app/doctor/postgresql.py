"""What is found in PostgreSQL: whatever keeps dead rows of the operations from being vacuumed.

Each claim and each outcome leaves a dead version of a row behind, and vacuum may remove it only
when nobody could still see it: no transaction, prepared transaction or replication slot that is
older. Until then the claims read their way over all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from operator_app.doctor.answers import ask, shortened
from operator_app.doctor.finding import Finding
from operator_app.models import Operation
from operator_app.moments import in_words

MANY_DEAD: Final = 10_000
"""How many dead rows nobody has to care about."""
FAR_BEHIND: Final = 1_000_000
"""How many transactions an active replication slot may be behind."""

COST: Final = (
    f"rows of {Operation._meta.db_table} that have died since cannot be vacuumed, so claims get "
    "slower and slower"
)

# A session's horizon counts for its own database only. It has one while it has a snapshot, or once
# it has written; VACUUM has one that other vacuums ignore.
_SESSIONS: Final = """
SELECT pid, usename, application_name, state, client_addr,
       EXTRACT(EPOCH FROM clock_timestamp() - xact_start), query
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND COALESCE(backend_xmin, backend_xid) IS NOT NULL
  AND backend_type NOT IN ('autovacuum worker', 'parallel worker')
  AND query !~* '^[[:space:]]*vacuum'
  AND clock_timestamp() - xact_start >= make_interval(secs => %s)
ORDER BY xact_start
"""
# PostgreSQL shows that there is such a session, and nothing of what it does.
_UNSEEN: Final = """
SELECT count(*), current_user FROM pg_stat_activity
WHERE datname = current_database() AND query = '<insufficient privilege>'
"""
_PREPARED: Final = """
SELECT gid, owner, EXTRACT(EPOCH FROM clock_timestamp() - prepared)
FROM pg_prepared_xacts
WHERE database = current_database()
  AND clock_timestamp() - prepared >= make_interval(secs => %s)
ORDER BY prepared
"""
# A logical slot keeps the catalog of its own database only.
_SLOTS: Final = """
SELECT slot_name, slot_type, active, xmin IS NOT NULL, age(COALESCE(xmin, catalog_xmin))
FROM pg_replication_slots
WHERE xmin IS NOT NULL OR (catalog_xmin IS NOT NULL AND database = current_database())
ORDER BY slot_name
"""
_DEAD_ROWS: Final = """
SELECT n_live_tup, n_dead_tup, EXTRACT(EPOCH FROM clock_timestamp() - last_autovacuum),
       EXTRACT(EPOCH FROM clock_timestamp() - last_vacuum)
FROM pg_stat_user_tables WHERE relid = %s::regclass
"""


def long_transactions(alias: str, older_than: float) -> Iterator[Finding]:
    """Yield a problem for each transaction of another session that has been open for that many
    seconds and holds vacuum back; a note where some sessions cannot be seen. Two queries.
    """
    for row in ask(alias, _SESSIONS, [older_than]):
        yield _Session(*row).finding
    ((number, user),) = ask(alias, _UNSEEN)
    if number:
        yield Finding(
            "doctor.unseen",
            "note",
            f"The database user {user!r} may not see what {number} other "
            f"session{'s' if number > 1 else ''} of the database {alias!r} "
            f"do{'' if number > 1 else 'es'}: a long transaction there is not found.",
            f'GRANT pg_read_all_stats TO "{user}", or use a user that may see them.',
        )


def prepared_transactions(alias: str, older_than: float) -> Iterator[Finding]:
    """Yield a problem for each prepared transaction that nobody has ended for that many seconds.
    One query.
    """
    for name, owner, seconds in ask(alias, _PREPARED, [older_than]):
        yield prepared_transaction(name, owner, float(seconds))


def prepared_transaction(name: str, owner: str, seconds: float) -> Finding:
    """Return what is to be said of a prepared transaction. No queries."""
    quoted = "'" + name.replace("'", "''") + "'"
    return Finding(
        "doctor.prepared_transaction",
        "problem",
        f"The prepared transaction {quoted} of {owner} has been waiting for {in_words(seconds)}: "
        f"{COST}. It survives the end of its session and restarts of the server.",
        f"If whoever prepared it will not end it: ROLLBACK PREPARED {quoted}, "
        f"or COMMIT PREPARED {quoted}.",
    )


def replication_slots(alias: str) -> Iterator[Finding]:
    """Yield a problem for each replication slot that keeps old rows for nobody, a warning for one
    whose reader is far behind. One query.
    """
    for row in ask(alias, _SLOTS):
        found = replication_slot(*row)
        if found is not None:
            yield found


def replication_slot(
    name: str, kind: str, is_active: bool, keeps_rows: bool, age: int
) -> Finding | None:
    """Return what is to be said of a replication slot, if anything. No queries.

    Args:
        name: its name.
        kind: "physical" or "logical".
        is_active: whether somebody reads from it now.
        keeps_rows: whether it keeps rows of all tables; otherwise those of the catalog only.
        age: how many transactions ago the oldest was that it keeps rows for.
    """
    if is_active and age < FAR_BEHIND:
        return None
    costs = COST if keeps_rows else "dead rows of the catalog cannot be vacuumed, and WAL piles up"
    if is_active:
        return Finding(
            "doctor.replication_slot",
            "warning",
            f"The {kind} replication slot {name!r} is {age:,} transactions behind: {costs}.",
            "Look for a long query or a long delay at whoever reads from it.",
        )
    return Finding(
        "doctor.replication_slot",
        "problem",
        f"Nobody reads from the {kind} replication slot {name!r}, which is {age:,} transactions "
        f"behind: {costs}.",
        "Start its reader again; if there is none any more: "
        f"SELECT pg_drop_replication_slot('{name}').",
    )


def dead_rows(alias: str) -> Iterator[Finding]:
    """Yield a warning if more rows of the operations' table are dead than alive. One query, of the
    server's statistics.
    """
    table = Operation._meta.db_table
    for live, dead, by_itself, by_hand in ask(alias, _DEAD_ROWS, [f'"{table}"']):
        if dead <= max(live, MANY_DEAD):
            continue
        yield Finding(
            "doctor.dead_rows",
            "warning",
            f"{table} has {dead:,} dead rows and {live:,} living ones, which makes claims slower. "
            f"Autovacuum was last done with it {_ago(by_itself)}, VACUUM {_ago(by_hand)}.",
            "If something above keeps them, end that first; then autovacuum removes them, or "
            f"VACUUM {table} at once. If nothing does, let autovacuum come more often: ALTER TABLE "
            f"{table} SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = "
            "0).",
        )


class _Session(NamedTuple):
    """A session with an open transaction."""

    pid: int
    user: str
    application: str
    state: str | None
    address: Any
    seconds: Any
    statement: str

    @property
    def finding(self) -> Finding:
        """What is to be said of it."""
        who = [f"user {self.user}", self.state]
        if self.application:
            who.append(f"application {shortened(self.application)!r}")
        if self.address:
            who.append(f"from {self.address}")
        return Finding(
            "doctor.long_transaction",
            "problem",
            f"Session {self.pid} ({', '.join(filter(None, who))}) has had a transaction open for "
            f"{in_words(float(self.seconds))}: {COST}. Its latest statement: "
            f"{shortened(self.statement)}",
            "Commit or roll back there; if nobody can: SELECT pg_terminate_backend("
            f"{self.pid}). idle_in_transaction_session_timeout ends those that were forgotten.",
        )


def _ago(seconds: Any) -> str:
    return "never" if seconds is None else f"{in_words(float(seconds))} ago"
