"""One kind of operation per way that a kind can be made, and one that does what a test tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.conf import settings
from django.db import models

from operator_app import CircuitBreaker, Policy
from operator_app.models import Operation, OperationManager


class Ledger(models.Model):
    """An effect: a line that an operation wrote."""

    operation_id_seen = models.BigIntegerField()
    line = models.CharField(max_length=200, blank=True)


def write_line(operation: Operation, line: str = "") -> None:
    """Leave an effect of `operation`."""
    Ledger.objects.create(operation_id_seen=operation.pk, line=line)


class Note(Operation):
    """A kind with a column."""

    text = models.CharField(max_length=100, default="")

    policy = Policy(queue="notes")

    def run(self) -> None:
        """Write the text down."""
        write_line(self, self.text)


class QuickNote(Note):
    """A second kind in the same table."""

    class Meta:
        proxy = True

    policy = Policy(priority=5)


class LongNote(Note):
    """A subclass of a subclass, with a column more."""

    body = models.TextField(default="")


class Sweep(Operation):
    """A kind without columns: a proxy."""

    class Meta:
        proxy = True

    def run(self) -> None:
        """Write a line."""
        write_line(self, "swept")


class Reported(Operation):
    """An abstract class in between."""

    title = models.CharField(max_length=50, default="")

    policy = Policy(queue="reports", max_attempts=7)

    class Meta:
        abstract = True


class Report(Reported):
    """A kind below an abstract class."""

    policy = Policy(priority=1)

    def run(self) -> None:
        """Write the title down."""
        write_line(self, self.title)


class AsyncNote(Operation):
    """A kind whose run() is a coroutine, using the ORM's async API."""

    text = models.CharField(max_length=100, default="")

    async def run(self) -> None:
        """Write the text down."""
        await Ledger.objects.acreate(operation_id_seen=self.pk, line=self.text)


class RankUp(Operation):
    """A kind with a foreign key that takes the operation along."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    rank = models.CharField(max_length=20, default="Beginner")

    def run(self) -> None:
        """Write the new rank down."""
        write_line(self, f"{self.user.username} is a {self.rank}")


class Tagged(Operation):
    """A kind that names its own tags."""

    customer = models.IntegerField(default=0)

    def run(self) -> None:
        """Do nothing."""

    def tags(self) -> list[str]:
        """Return a tag of its own."""
        return [f"customer:{self.customer}", "billing"]


class PlainManager(OperationManager):
    """A manager of a project's own."""

    def shouted(self) -> Any:
        """Return those that are due at high priority."""
        return self.filter(priority__gte=100)


class Shout(Operation):
    """A kind with a manager of its own."""

    objects = PlainManager()

    class Meta:
        proxy = True

    def run(self) -> None:
        """Write a line."""
        write_line(self, "!")


class Scripted(Operation):
    """Does what the test has put into `script`, by name.

    In the test's own process: `Scripted.does("name", function)`. `Hooked` notes its hooks here.
    """

    script = models.CharField(max_length=50, default="finish")

    policy = Policy(backoff=[1, 2], stop_delay=30)
    scripts: ClassVar[dict[str, Callable[[Scripted], object]]] = {}
    hooks: ClassVar[list[tuple[Any, ...]]] = []

    @classmethod
    def does(cls, name: str, function: Callable[[Scripted], object]) -> str:
        """Let operations whose script is `name` call `function`."""
        cls.scripts[name] = function
        return name

    @classmethod
    def forget(cls) -> None:
        """Forget the scripts and the notes of an earlier test."""
        cls.scripts.clear()
        cls.hooks.clear()

    def run(self) -> object:
        """Follow the script."""
        return self.scripts[self.script](self)


class Hooked(Scripted):
    """A kind with every hook, each of which notes that it was called."""

    class Meta:
        proxy = True

    def queued(self) -> None:
        """Note it."""
        self.hooks.append(("queued", self.pk))

    def succeeded(self) -> None:
        """Note it."""
        self.hooks.append(("succeeded", self.pk))

    def errored(self, error: BaseException, will_retry: bool) -> None:
        """Note it."""
        self.hooks.append(("errored", self.pk, error, will_retry))


class Inline(Scripted):
    """A kind that runs in the operator's main thread."""

    class Meta:
        proxy = True

    policy = Policy(runner="inline")


class Calling(Scripted):
    """A kind that calls somebody who may not be there."""

    class Meta:
        proxy = True

    policy = Policy(
        max_attempts=20,
        backoff=[0],
        circuit_breaker=CircuitBreaker(
            failures=3, within=60, cooldown=30, max_cooldown=100, on=[ConnectionError]
        ),
    )


class Mailing(Operation):
    """A kind with a column of each sort that a form treats in its own way, and one to hide."""

    class Tone(models.TextChoices):
        """How it sounds."""

        WARM = "warm", "Warm words"
        COLD = "cold", "Cold words"

    sender = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    receivers = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="+")
    attachment = models.FileField(upload_to="mailings", blank=True)
    options = models.JSONField(default=dict, blank=True)
    tone = models.CharField(max_length=10, choices=Tone, default=Tone.WARM)
    token = models.CharField(max_length=50, default="")

    policy = Policy(sensitive_fields=["token"])

    def run(self) -> None:
        """Write the tone down."""
        write_line(self, self.tone)
