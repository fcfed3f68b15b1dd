"""The system checks: each thing they find, its id and its cure; and what they leave alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.checks import CheckMessage, Tags, run_checks
from django.db import OperationalError, connection, connections, models
from django.db.utils import ConnectionHandler
from django.test.utils import isolate_apps

from operator_app import Policy, checks
from operator_app.checks import databases, kinds, names, pending, retention
from operator_app.models import Operation, OperationManager, OperationQuerySet
from operator_app.models.querysets import AllOperationsManager
from tests.databases import ROOT
from tests.kinds.models import LongNote, Mailing, Note, Sweep


@pytest.fixture
def scratch() -> Iterator[None]:
    """Kinds made in the test are in no registry, and what they did to real classes is undone."""
    before = {model: dict(vars(model)) for model in (Operation, Note)}
    with isolate_apps("tests.kinds"):
        yield
    for model, content in before.items():
        for name in set(vars(model)) - set(content):
            delattr(model, name)
        for name, value in content.items():
            if vars(model)[name] is not value:
                setattr(model, name, value)


def ids(messages: Any) -> list[str]:
    return [message.id.removeprefix("operator_app.") for message in messages]


def problems_of(kind: Any) -> list[CheckMessage]:
    checkers: tuple[Callable[[Any], Iterator[CheckMessage]], ...] = (
        kinds.run_problems,
        kinds.policy_problems,
        kinds.field_problems,
        kinds.manager_problems,
        names.accessor_clashes,
        names.field_clashes,
        names.attribute_clashes,
    )
    return [message for checker in checkers for message in checker(kind)]


def only(messages: Any) -> CheckMessage:
    (message,) = messages
    assert message.hint
    return message


# The project of these tests


@pytest.mark.django_db  # Django's checks of models ask what the database can do.
def test_the_kinds_of_these_tests_are_in_order() -> None:
    """Every way to make a kind passes: columns, proxies, abstract classes, own managers."""
    assert [message for message in run_checks() if str(message.id).startswith("operator_app")] == []


@pytest.mark.django_db
def test_the_database_of_these_tests_is_in_order() -> None:
    """The settings that the documentation recommends pass on each database."""
    found = run_checks(tags=[Tags.database], databases=["default"])
    assert [message for message in found if str(message.id).startswith("operator_app")] == []


def test_without_a_database_none_is_asked() -> None:
    """A plain `manage.py check` connects to nothing."""
    assert checks.check_databases(None) == []
    assert checks.check_pending(None) == []
    assert checks.check_databases(None, databases=[]) == []


def test_every_id_is_documented_once() -> None:
    """The table in the docstring of `operator_app.checks` names the ids that the code gives."""
    listed = re.findall(r"^\| `operator_app\.([EW]\d{3})` \|", checks.__doc__ or "", re.MULTILINE)
    package = Path(str(checks.__file__)).parent
    source = "".join(path.read_text() for path in package.glob("*.py"))
    given = set(re.findall(r'id="operator_app\.([EW]\d{3})"', source))
    assert sorted(listed) == sorted(given)
    assert len(listed) == len(set(listed))


# A project with clashes, as Django really loads it


def check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "django", *arguments],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )


def test_manage_py_check_names_the_clash_and_its_cure() -> None:
    """`class Cancel(Operation)` has overwritten the method by then, and is found all the same;
    `class Retry(Operation)` with the cure of the hint is left alone.
    """
    done = check("check", DJANGO_SETTINGS_MODULE="tests.checks.settings")
    said = " ".join(done.stderr.split())
    assert done.returncode == 1, done.stderr
    assert (
        "clashing.Cancel: (operator_app.E008) Operation.cancel, the reverse accessor of "
        "Cancel.operation_ptr, takes a name that the engine uses."
    ) in said
    assert (
        "add to it: operation_ptr = models.OneToOneField(Operation, models.CASCADE, "
        'parent_link=True, related_name="+")'
    ) in said
    assert "(operator_app.E001) OPERATOR has no key 'THREDS'; did you mean 'THREADS'?" in said
    assert "(operator_app.E002) OPERATOR['POLICY'] has no option 'max_atempts'" in said
    assert "Retry" not in said
    assert "identified 3 issues" in said


def test_the_first_migrate_of_a_project_is_quiet(tmp_path: Path) -> None:
    """Before there are tables, the checks of the database find nothing to complain about."""
    if connection.vendor != "sqlite":
        pytest.skip("a new database is made on SQLite only")
    done = check(
        "migrate",
        DJANGO_SETTINGS_MODULE="tests.settings",
        OPERATOR_TEST_NAME=str(tmp_path / "new.sqlite3"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


# OPERATOR


def test_every_bad_setting_is_an_error(settings: Any) -> None:
    """E001 for each bad key and value, in the words of `conf.problems`."""
    settings.OPERATOR = {"THREDS": 1, "GRACE": -1}
    found = checks.check_settings(None)
    assert ids(found) == ["E001", "E001"]
    assert "did you mean 'THREADS'?" in found[0].msg
    assert "OPERATOR['GRACE']" in found[1].msg


def test_a_setting_that_is_no_dict_is_one_error(settings: Any) -> None:
    """Nothing inside it can be judged."""
    settings.OPERATOR = ["POLICY"]
    assert ids(checks.check_settings(None)) == ["E001"]
    settings.OPERATOR = {"POLICY": 5}
    assert ids(checks.check_settings(None)) == ["E001"]


def test_every_bad_policy_option_is_an_error(settings: Any) -> None:
    """E002 for each option, not only for the first."""
    settings.OPERATOR = {
        "POLICY": {"max_atempts": 3, "priority": "high", "backoff": [], "queue": "fine"}
    }
    found = checks.check_settings(None)
    assert ids(found) == ["E002", "E002", "E002"]
    assert "did you mean 'max_attempts'?" in found[0].msg
    assert "not 'high'" in found[1].msg
    assert "'backoff'" in (found[2].hint or "")


def test_no_setting_is_no_problem(settings: Any) -> None:
    """A project needs none."""
    settings.OPERATOR = {}
    del settings.OPERATOR
    assert checks.check_settings(None) == []


# run()


def test_a_kind_without_run_is_an_error(scratch: None) -> None:
    """E003, for kinds with columns and proxies; an abstract class need not have one."""

    class Lazy(Operation):
        class Meta:
            app_label = "kinds"

    class LazyProxy(Operation):
        class Meta:
            app_label = "kinds"
            proxy = True

    class Named(Operation):
        run = "shop.tasks.run"

        class Meta:
            app_label = "kinds"

    for kind in (Lazy, LazyProxy, Named):
        message = only(problems_of(kind))
        assert message.id == "operator_app.E003"
        assert f"kinds.{kind.__name__} has no run() method" in message.msg
        assert "abstract" in (message.hint or "")


def test_run_may_come_from_anywhere_in_the_line(scratch: None) -> None:
    """A mixin, an abstract class or another kind may define it; it may be a coroutine."""

    class Runs:
        async def run(self, *args: object, verbose: bool = False) -> None:
            """Do nothing."""

    class Mixed(Runs, Operation):
        class Meta:
            app_label = "kinds"

    class Below(Mixed):
        class Meta:
            app_label = "kinds"

    assert problems_of(Mixed) == problems_of(Below) == []


def test_run_takes_no_arguments(scratch: None) -> None:
    """E004: an operation's arguments are its fields."""

    class Greedy(Operation):
        def run(self, user_id: int) -> None:  # type: ignore[override]
            """Never called."""

        class Meta:
            app_label = "kinds"

    message = only(problems_of(Greedy))
    assert message.id == "operator_app.E004"
    assert "run(self)" in (message.hint or "")


def test_run_must_not_be_a_generator(scratch: None) -> None:
    """E004: to call a generator function runs nothing, and would count as finished."""

    class Yields(Operation):
        def run(self) -> Any:
            yield 1

        class Meta:
            app_label = "kinds"

    class YieldsLater(Operation):
        async def run(self) -> Any:
            yield 1

        class Meta:
            app_label = "kinds"

    for kind in (Yields, YieldsLater):
        message = only(problems_of(kind))
        assert message.id == "operator_app.E004"
        assert "generator" in message.msg


# policy


@pytest.mark.parametrize("wrong", [{"queue": "mails"}, "mails", None, Policy])
def test_a_policy_that_is_none_is_an_error(scratch: None, wrong: Any) -> None:
    """E005, also on an abstract base; the hint shows how to write it."""

    class Base(Operation):
        policy = wrong

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            abstract = True

    class Odd(Base):
        class Meta:
            app_label = "kinds"

    message = only(problems_of(Odd))
    assert message.id == "operator_app.E005"
    assert f"Base.policy must be a Policy, not {type(wrong).__name__}" in message.msg


def test_a_sensitive_field_that_is_none_is_an_error(scratch: None, settings: Any) -> None:
    """E016, with what was meant; the project's policy may name fields of other kinds."""
    settings.OPERATOR = {"POLICY": {"sensitive_fields": ["password"]}}

    class Base(Operation):
        token = models.CharField(max_length=10)
        policy = Policy(sensitive_fields=["token", "tokn"])

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            abstract = True

    class Odd(Base):
        class Meta:
            app_label = "kinds"

    message = only(problems_of(Odd))
    assert message.id == "operator_app.E016"
    assert "Base.policy names 'tokn'" in message.msg and "did you mean 'token'?" in message.msg


def test_an_async_run_cannot_be_atomic(scratch: None, settings: Any) -> None:
    """E012, whoever says so: the kind's policy, a base's or the project's; no other is touched."""

    class Hasty(Operation):
        policy = Policy(atomic=True)

        async def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    class Careful(Hasty):
        policy = Policy(atomic=False)

        class Meta:
            app_label = "kinds"

    class Steady(Operation):
        policy = Policy(atomic=True)

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    message = only(problems_of(Hasty))
    assert message.id == "operator_app.E012"
    assert "kinds.Hasty is async" in message.msg
    assert message.hint is not None and "atomic=False" in message.hint
    assert problems_of(Careful) == problems_of(Steady) == []
    settings.OPERATOR = {"POLICY": {"atomic": True}}
    assert problems_of(Careful) == []


# Managers


def test_the_default_manager_must_be_an_operation_manager(scratch: None) -> None:
    """E006, whether `objects` is replaced or another manager stands above it."""

    class Replaced(Operation):
        objects = models.Manager()  # type: ignore[misc]

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    class Beside(Operation):
        urgent = models.Manager()

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    for kind, name in ((Replaced, "objects"), (Beside, "urgent")):
        message = only(problems_of(kind))
        assert message.id == "operator_app.E006"
        assert f"kinds.{kind.__name__}, {name}, is not" in message.msg


def test_a_manager_needs_a_queryset_of_operations(scratch: None) -> None:
    """E006: an OperationManager of a foreign queryset has none of the states."""

    class Foreign(models.QuerySet[Any]):
        pass

    class Ours(OperationQuerySet[Any]):
        pass

    class Odd(Operation):
        objects = OperationManager.from_queryset(Foreign)()

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    class Good(Operation):
        objects = OperationManager.from_queryset(Ours)()

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    assert ids(problems_of(Odd)) == ["E006"]
    assert problems_of(Good) == []


def test_all_objects_must_show_cancelled_operations(scratch: None) -> None:
    """E007: outcomes are recorded through `all_objects`."""

    class Hidden(Operation):
        all_objects = OperationManager()

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    class Gone(Operation):
        all_objects = None  # type: ignore[assignment]

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    assert "E007" in ids(problems_of(Hidden))
    assert "E007" in ids(problems_of(Gone))
    found = only(kinds.manager_problems(Hidden))
    (advised,) = re.findall(r"all_objects = (.+?\(.*?\))", str(found.hint))
    (imported,) = re.findall(r"`(from .+?)`", str(found.hint))
    there: dict[str, Any] = {}
    exec(imported, there)

    class Mended(Operation):
        all_objects = eval(advised, there)

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    assert problems_of(Mended) == []


# Reverse accessors


@pytest.mark.parametrize(
    "name",
    [
        "Cancel",
        "Stop",
        "Schedule",
        "Run",
        "Job",
        "Jobs",
        "State",
        "Tags",
        "Policy",
        "Save",
        "Check",
    ],
)
def test_a_class_named_as_something_of_the_engine_is_an_error(scratch: None, name: str) -> None:
    """E008: its reverse accessor stands in the place of what was there; found afterwards too."""
    Meta = type("Meta", (), {"app_label": "kinds"})
    content = {"__module__": __name__, "run": lambda self: None, "Meta": Meta}
    kind = type(name, (Operation,), content)
    message = next(found for found in problems_of(kind) if found.id == "operator_app.E008")
    assert f"Operation.{name.lower()}, the reverse accessor of {name}.operation_ptr" in message.msg
    assert names.CURE.format(link="operation_ptr", parent="Operation") in (message.hint or "")


def test_the_cure_of_the_hint_works(scratch: None) -> None:
    """A parent link without a reverse accessor leaves the engine's method where it was."""
    before = Operation.cancel

    class Cancel(Operation):
        operation_ptr = models.OneToOneField(
            Operation, models.CASCADE, parent_link=True, related_name="+"
        )

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    assert problems_of(Cancel) == []
    assert Operation.cancel is before


def test_a_class_below_another_kind_is_cured_by_its_own_link(scratch: None) -> None:
    """E008 for a subclass of a subclass names the link to its own parent."""

    class Retry(Note):
        class Meta:
            app_label = "kinds"

    message = only(problems_of(Retry))
    assert "Note.retry, the reverse accessor of Retry.note_ptr" in message.msg
    assert "note_ptr = models.OneToOneField(Note, models.CASCADE" in (message.hint or "")


def test_a_proxy_has_no_accessor_and_may_have_any_name(scratch: None) -> None:
    """A proxy has no link to its parent."""

    class Cancel(Operation):
        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"
            proxy = True

    assert problems_of(Cancel) == []


def test_any_relation_to_operations_is_checked(scratch: None) -> None:
    """E008 for the related name of any model's key, and for a lookup that hides a column."""

    class Invoice(models.Model):
        one = models.ForeignKey(Operation, models.CASCADE, related_name="progress")
        two = models.OneToOneField(Note, models.CASCADE, related_name="run")
        many = models.ManyToManyField(Operation, related_name="specific")
        four = models.ForeignKey(Operation, models.CASCADE, related_query_name="queue")
        fine = models.ForeignKey(Operation, models.CASCADE, related_name="invoices")
        hidden = models.ForeignKey(Operation, models.CASCADE, related_name="+")
        unnamed = models.ForeignKey(Note, models.CASCADE)
        tags = models.ManyToManyField(Note)
        user = models.ForeignKey(get_user_model(), models.CASCADE, related_name="state")

        class Meta:
            app_label = "kinds"

    found = list(names.accessor_clashes(Invoice))
    assert ids(found) == ["E008"] * 4
    said = " ".join(message.msg for message in found)
    for what in ("Operation.progress,", "Note.run,", "Operation.specific,", "The lookup 'queue',"):
        assert what in said
    assert "Invoice.one another related_name" in (found[0].hint or "")


def test_the_engines_own_accessor_is_no_clash() -> None:
    """`operation.jobs` is what it is meant to be, and is reserved for everybody else."""
    assert "jobs" in names.reserved_names()
    assert list(names.accessor_clashes(Operation._meta.get_field("jobs").related_model)) == []


# Fields


def test_a_field_named_as_something_of_the_engine_is_an_error(scratch: None) -> None:
    """E009 for methods, properties and Django's own names, of any sort of field."""

    class Shadow(Operation):
        progress = models.FloatField(default=0)
        job = models.ForeignKey(get_user_model(), models.CASCADE, related_name="+")
        state = models.ManyToManyField(get_user_model(), related_name="+")
        delete = models.BooleanField(default=False)
        content_type = models.ForeignKey(ContentType, models.CASCADE, related_name="+")
        object_id = models.BigIntegerField()
        tags = GenericForeignKey("content_type", "object_id")

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    found = problems_of(Shadow)
    assert ids(found) == ["E009"] * 5
    said = " ".join(message.msg for message in found)
    for name in ("progress", "job", "state", "delete", "tags"):
        assert f"kinds.Shadow.{name} cannot have this name" in said


@pytest.mark.parametrize("name", ["when", "cls"])
def test_a_field_named_as_an_argument_of_schedule_is_an_error(scratch: None, name: str) -> None:
    """E009: `schedule(when, when=...)` cannot be called."""
    content = {
        "__module__": __name__,
        name: models.DateTimeField(null=True),
        "run": lambda self: None,
        "Meta": type("Meta", (), {"app_label": "kinds"}),
    }
    message = only(problems_of(type("Reminder", (Operation,), content)))
    assert message.id == "operator_app.E009"
    assert "an argument of schedule()" in message.msg
    assert f"db_column='{name}'" in (message.hint or "")


def test_a_field_of_an_abstract_base_is_checked_in_each_kind(scratch: None) -> None:
    """E009 where the column would be."""

    class Base(models.Model):
        stop = models.BooleanField(default=False)

        class Meta:
            abstract = True

    class Bus(Base, Operation):
        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    assert ids(problems_of(Bus)) == ["E009"]


# Class attributes


def test_an_attribute_that_shadows_a_column_is_an_error(scratch: None) -> None:
    """E010: it looks like a setting and is none; the hint writes the policy."""

    class Mixin:
        priority = 5

    class Mail(Mixin, Operation):
        queue = "mails"
        attempts = 3

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    class MailBelow(Mail):
        class Meta:
            app_label = "kinds"

    found = problems_of(Mail)
    assert ids(found) == ["E010", "E010", "E010"]
    hints = {message.msg.split()[0]: message.hint for message in found}
    assert hints["Mail.queue"] == "Write policy = Policy(queue='mails')."
    assert hints["Mixin.priority"] == "Write policy = Policy(priority=5)."
    assert "another name" in str(hints["Mail.attempts"])
    assert problems_of(MailBelow) == []


def test_overriding_a_method_of_the_engine_is_a_warning(scratch: None) -> None:
    """W001: it may be meant, but rarely is; Django's own methods are everybody's to override."""

    class Bold(Operation):
        def cancel(self, reason: str = "") -> None:
            """Something else."""

        @property
        def state(self) -> str:
            return "odd"

        def save(self, *args: Any, **kwargs: Any) -> None:
            """Django's idiom."""

        def clean(self) -> None:
            """Django's idiom."""

        def __str__(self) -> str:
            return "bold"

        def run(self) -> None:
            """Do nothing."""

        class Meta:
            app_label = "kinds"

    found = problems_of(Bold)
    assert ids(found) == ["W001", "W001"]
    assert [message.msg.split()[0] for message in found] == ["Bold.cancel", "Bold.state"]


def test_what_a_kind_is_meant_to_define_passes(scratch: None) -> None:
    """run(), hooks, tags, policy, managers and names of its own."""

    class Full(Operation):
        amount = models.IntegerField(default=0)
        policy = Policy(queue="x")
        objects = OperationManager()
        all_objects = AllOperationsManager()
        LIMIT = 5

        def run(self) -> None:
            """Do nothing."""

        def queued(self) -> None:
            """Do nothing."""

        def succeeded(self) -> None:
            """Do nothing."""

        def errored(self, error: BaseException, will_retry: bool) -> None:
            """Do nothing."""

        def tags(self) -> list[str]:
            return ["x"]

        class Meta:
            app_label = "kinds"

    assert problems_of(Full) == []


def test_checks_can_be_asked_of_some_apps_only() -> None:
    """`manage.py check auth` does not look at kinds."""
    assert checks.check_kinds([]) == checks.check_names([]) == []


# SQLite


@pytest.fixture
def sqlite(tmp_path: Path, db: None) -> Iterator[Callable[..., Any]]:
    """Connections to an SQLite file with the given settings."""
    handlers = []

    def connect(name: object = None, **settings: Any) -> Any:
        handlers.append(
            ConnectionHandler(
                {
                    "default": {
                        "ENGINE": "django.db.backends.sqlite3",
                        "NAME": name or tmp_path / "some.sqlite3",
                        **settings,
                    }
                }
            )
        )
        return handlers[-1]["default"]

    yield connect
    for handler in handlers:
        handler.close_all()


def test_sqlite_as_django_leaves_it_is_warned_about(sqlite: Callable[..., Any]) -> None:
    """W002, W003, W004: DEFERRED, no write-ahead log, five seconds."""
    found = list(databases.sqlite_problems(sqlite()))
    assert ids(found) == ["W002", "W003", "W004"]
    assert "are DEFERRED" in found[0].msg
    assert "journal_mode=delete" in found[1].msg
    assert "after 5 seconds" in found[2].msg


def test_the_lines_of_the_hints_are_the_cure(sqlite: Callable[..., Any]) -> None:
    """Pasted into OPTIONS, they silence the warnings that they came with."""
    found = list(databases.sqlite_problems(sqlite()))
    lines = [str(message.hint).partition('["OPTIONS"]: ')[2] for message in found]
    options = eval("{" + "".join(lines) + "}")
    assert set(options) == {"transaction_mode", "init_command", "timeout"}
    assert list(databases.sqlite_problems(sqlite(OPTIONS=options))) == []


def test_a_file_that_has_a_write_ahead_log_needs_no_command(sqlite: Callable[..., Any]) -> None:
    """The log is a property of the file; the database is asked, not the settings."""
    sqlite(OPTIONS={"init_command": "PRAGMA journal_mode=WAL"}).ensure_connection()
    assert "W003" not in ids(databases.sqlite_problems(sqlite()))


def test_atomic_requests_are_warned_about(sqlite: Callable[..., Any]) -> None:
    """W005: every page would hold the only write lock."""
    found = databases.sqlite_problems(sqlite(ATOMIC_REQUESTS=True))
    assert "W005" in ids(found)


def test_a_database_in_memory_is_warned_about(sqlite: Callable[..., Any]) -> None:
    """W006, and nothing about a file that there is not."""
    message = only(databases.sqlite_problems(sqlite(":memory:")))
    assert message.id == "operator_app.W006"
    assert "path of a file" in (message.hint or "")


def test_the_memory_of_djangos_test_runner_is_fine(sqlite: Callable[..., Any]) -> None:
    """A project whose tests run in memory is not told off in each of its test runs."""
    name = sqlite(":memory:").creation._get_test_db_name()
    assert list(databases.sqlite_problems(sqlite(name))) == []


# MySQL and MariaDB


@pytest.mark.django_db
@pytest.mark.skipif("connection.vendor != 'mysql'")
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE", "READ UNCOMMITTED"])
def test_another_isolation_level_is_warned_about(level: str) -> None:
    """W007: the session is asked, whatever the settings say."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
        try:
            message = only(databases.problems("default"))
        finally:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    assert message.id == "operator_app.W007"
    assert f"are {level}:" in message.msg
    assert '"isolation_level": "read committed",' in (message.hint or "")


# Any database


@pytest.mark.django_db
def test_a_server_that_is_too_old_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """E011, with the version it is and the version it should be."""
    product = connection.display_name
    oldest = databases.SUPPORTED[product]
    default = connections["default"]
    monkeypatch.setattr(default, "get_database_version", lambda: (*oldest[:-1], oldest[-1] - 1))
    message = only(databases.problems("default"))
    assert message.id == "operator_app.E011"
    assert f"Use {product} {'.'.join(map(str, oldest))} or later" in (message.hint or "")
    monkeypatch.setattr(default, "get_database_version", lambda: (*oldest, 1))
    assert databases.problems("default") == []


@pytest.mark.django_db
def test_a_database_that_is_away_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever needs it will say so; the checks raise nothing."""

    def away(*args: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(connections["default"], "ensure_connection", away)
    monkeypatch.setattr(connection.introspection, "table_names", away)
    assert checks.check_databases(None, databases=["default"]) == []
    assert checks.check_pending(None, databases=["default"]) == []


class Elsewhere:
    """A router that keeps operations out of every database."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Refuse this app only."""
        return False if app_label == "operator_app" else None


@pytest.mark.django_db
def test_a_database_without_operations_is_not_checked(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router that keeps the tables out keeps the checks out."""
    settings.DATABASE_ROUTERS = [f"{__name__}.Elsewhere"]
    monkeypatch.setattr(connections["default"], "get_database_version", lambda: (1,))
    assert checks.check_databases(None, databases=["default"]) == []
    assert checks.check_pending(None, databases=["default"]) == []


# Pending operations without a class


@pytest.fixture
def gone(db: None) -> Iterator[ContentType]:
    """The content type of a kind that was renamed or removed."""
    yield ContentType.objects.create(app_label="kinds", model="broom")
    ContentType.objects.clear_cache()


def make_gone(operations: list[Operation], kind: ContentType) -> None:
    pks = [operation.pk for operation in operations]
    Operation.all_objects.filter(pk__in=pks).update(kind=kind)


def test_pending_operations_of_an_unknown_kind_are_warned_about(gone: ContentType) -> None:
    """W008 names the kind and how many, over all of its lanes; the hint shows the operation."""
    queues = ["default", "default", "mails"]
    make_gone([Sweep.schedule(timedelta(1), queue=queue) for queue in queues], gone)
    Sweep.dispatch()
    message = only(checks.check_pending(None, databases=["default"]))
    assert message.id == "operator_app.W008"
    assert "3 operations of the kind 'kinds.broom' are pending" in message.msg
    assert 'RenameKind("kinds.broom", "NewName")' in (message.hint or "")


def test_one_operation_is_one(gone: ContentType) -> None:
    """The sentence follows the number."""
    make_gone([Sweep.dispatch()], gone)
    message = only(checks.check_pending(None, databases=["default"]))
    assert message.msg.startswith("1 operation of the kind 'kinds.broom' is pending")


def test_ended_and_known_operations_are_no_problem(gone: ContentType) -> None:
    """History may be of classes that are gone."""
    Sweep.dispatch()
    make_gone([Sweep.dispatch_now()], gone)
    assert checks.check_pending(None, databases=["default"]) == []


def test_the_count_is_capped(gone: ContentType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million rows are not counted."""
    monkeypatch.setattr(pending, "COUNTED", 3)
    queues = ["a", "a", "b", "b", "c"]
    make_gone([Sweep.dispatch(queue=queue) for queue in queues], gone)
    message = only(checks.check_pending(None, databases=["default"]))
    assert message.msg.startswith("More than 3 operations of the kind 'kinds.broom' are pending")


def test_an_operation_whose_content_type_is_gone_is_found_too(gone: ContentType) -> None:
    """No constraint keeps it, so it is named by its number."""
    make_gone([Sweep.dispatch()], gone)
    number = gone.pk
    ContentType.objects.filter(pk=number)._raw_delete("default")
    ContentType.objects.clear_cache()
    message = only(checks.check_pending(None, databases=["default"]))
    assert f"'kind {number}'" in message.msg
    assert "RenameKind" not in (message.hint or "")


@pytest.mark.django_db
def test_without_tables_there_is_nothing_to_warn_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first migrate the check asks for the tables and leaves."""
    monkeypatch.setattr(connection.introspection, "table_names", lambda: ["auth_user"])
    assert checks.check_pending(None, databases=["default"]) == []


class TestWhatGoesAlong:
    """`W009`: rows of the project go with an operation, and nobody has said when."""

    @pytest.fixture
    def bill(self, scratch: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
        """A model with a foreign key to a kind, or to all; returns what is found."""

        class Sale(Operation):
            class Meta:
                app_label = "kinds"

        def check(
            on_delete: Any = models.CASCADE, *, to: Any = Sale, policy: Policy | None = None
        ) -> list[CheckMessage]:
            class Bill(models.Model):
                operation = models.ForeignKey(to, on_delete, null=True, related_name="+")

                class Meta:
                    app_label = "kinds"

            relation = Bill._meta.get_field("operation").remote_field
            if to is Operation:  # Which is in the registry of the real models.
                monkeypatch.setattr(Operation._meta, "get_fields", lambda **_: [relation])
            if policy is not None:
                monkeypatch.setattr(Sale, "policy", policy)
            monkeypatch.setattr(retention, "kinds_of", lambda _: [Sale, LongNote, Mailing, Sweep])
            return retention.check_retention(None)

        return check

    def test_it_is_said_where_nobody_has_said_anything(self, bill: Any, settings: Any) -> None:
        settings.OPERATOR = {}
        (message,) = bill()
        assert message.id == "operator_app.W009" and message.obj.name == "operation"
        assert "Rows of kinds.Bill.operation are deleted with the kinds.Sale" in message.msg
        assert "finished ones after 7 days, failed ones after 90 days" in message.msg

    def test_of_all_operations(self, bill: Any, settings: Any) -> None:
        settings.OPERATOR = {"RETENTION": {"finished": 60, "cancelled": 60}}
        (message,) = bill(to=Operation)
        assert "the operator_app.Operation that" in message.msg
        assert message.msg.endswith("by default: failed ones after 90 days.")

    @pytest.mark.parametrize(
        "settings_",
        [
            {"RETENTION": None},
            {"RETENTION": dict.fromkeys(["finished", "failed", "cancelled"], 60)},
            {"RETENTION": 7},
            {"POLICY": {"max_attempts": "many"}},
        ],
    )
    def test_who_has_said_it_knows(self, bill: Any, settings: Any, settings_: Any) -> None:
        """And what is wrong is said elsewhere."""
        settings.OPERATOR = settings_
        assert bill() == []

    def test_the_policy_of_the_kind_may_say_it(self, bill: Any, settings: Any) -> None:
        settings.OPERATOR = {"RETENTION": {"failed": None, "cancelled": None}}
        assert bill(policy=Policy(retention={"finished": None})) == []

    @pytest.mark.parametrize("on_delete", [models.SET_NULL, models.PROTECT, models.DO_NOTHING])
    def test_what_does_not_go_along(self, bill: Any, settings: Any, on_delete: Any) -> None:
        """Nor do the tables of operations themselves, and of their many-to-many fields, count."""
        settings.OPERATOR = {}
        assert bill(on_delete) == []
