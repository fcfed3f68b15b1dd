"""The system checks: what is wrong is said before an operation is scheduled, each with its cure.

The ids are stable, so that a project can name them in `SILENCED_SYSTEM_CHECKS`.

| id | what it finds |
|---|---|
| `operator_app.E001` | `OPERATOR` has an unknown key or a bad value |
| `operator_app.E002` | `OPERATOR["POLICY"]` has an unknown option or a bad value |
| `operator_app.E003` | a kind has no `run()` |
| `operator_app.E004` | a kind's `run()` takes arguments, or is a generator |
| `operator_app.E005` | a kind's `policy` is not a `Policy` |
| `operator_app.E006` | a kind's default manager is not an `OperationManager` |
| `operator_app.E007` | a kind's `all_objects` leaves out cancelled operations |
| `operator_app.E008` | a reverse accessor takes a name of the engine |
| `operator_app.E009` | a kind's field takes a name of the engine |
| `operator_app.E010` | a class attribute of a kind shadows a column of the engine |
| `operator_app.E012` | a kind's policy says `atomic=True`, and its `run()` is async |
| `operator_app.E014` | a kind's policy says `runner="asyncio"`, and its `run()` is not async |
| `operator_app.E013` | `OPERATOR["ON_FAILURE"]` names something that cannot be called |
| `operator_app.E015` | a kind's `recurrences` are none, or do not fit the kind |
| `operator_app.E016` | a policy or an admin names a sensitive field that the kind does not have |
| `operator_app.W001` | a class attribute of a kind overrides what the engine defines |
| `operator_app.W009` | rows of the project are deleted with old operations, by default |

With a database (`manage.py check --database default`, `manage.py migrate`):

| id | what it finds |
|---|---|
| `operator_app.E011` | the server is older than what is supported |
| `operator_app.W002` | SQLite: transactions do not take the write lock at their start |
| `operator_app.W003` | SQLite: no write-ahead log |
| `operator_app.W004` | SQLite: writers give up before their turn has come |
| `operator_app.W005` | SQLite: each request is a transaction |
| `operator_app.W006` | SQLite: the database is in memory |
| `operator_app.W007` | MySQL, MariaDB: transactions are not READ COMMITTED |
| `operator_app.W008` | operations are pending whose class is not installed |
"""

from operator_app.checks.databases import check_databases
from operator_app.checks.kinds import check_kinds
from operator_app.checks.names import check_names
from operator_app.checks.pending import check_pending
from operator_app.checks.recurrences import check_recurrences
from operator_app.checks.retention import check_retention
from operator_app.checks.settings import check_settings

__all__ = [
    "check_databases",
    "check_kinds",
    "check_names",
    "check_pending",
    "check_recurrences",
    "check_retention",
    "check_settings",
]
