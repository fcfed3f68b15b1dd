"""Shows the demo: a live table on a terminal, a line for each change elsewhere."""

import sys
from collections.abc import Iterable
from io import TextIOWrapper
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from operator_app.models import Operation

from .scenario import Effect, Step
from .watch import Glimpse

COLOURS = {
    "scheduled": "blue",
    "due": "cyan",
    "running": "yellow",
    "stuck": "magenta",
    "finished": "green",
    "failed": "red",
    "cancelled": "bright_black",
}


def console(*, no_color: bool) -> Console:
    """Return the console. A character that the terminal does not have shows as a question mark."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(no_color=no_color, highlight=False)


def state_text(state: str) -> Text:
    """Return a state in its colour."""
    return Text(state, style=COLOURS[state])


class Board:
    """What the operations are doing, for as long as the `with` block runs."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self.said: dict[str, tuple[int, str]] = {}

    def __enter__(self) -> "Board":
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.live.stop()

    def show(self, glimpses: Iterable[Glimpse]) -> None:
        """Draw the table anew, or print what changed."""
        if self.live:
            self.live.update(progress_table(glimpses), refresh=True)
            return
        for glimpse in glimpses:
            line = f"{glimpse.state:<10} {glimpse.attempt:<7} {glimpse.message}".rstrip()
            news = (glimpse.claims, line)
            if glimpse.claims and glimpse.state != "due" and self.said.get(glimpse.name) != news:
                self.said[glimpse.name] = news
                self.console.print(f"  {glimpse.name:<22} {line}", soft_wrap=True)


def progress_table(glimpses: Iterable[Glimpse]) -> Table:
    """Return a table of what the operations are doing."""
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    table.add_column("Operation", no_wrap=True)
    table.add_column("State", width=9)
    table.add_column("Attempt", width=7)
    table.add_column("Progress", width=12)
    table.add_column("Message", no_wrap=True, ratio=1)
    for glimpse in glimpses:
        bar = ProgressBar(glimpse.total, glimpse.done, width=12) if glimpse.total else ""
        table.add_row(
            glimpse.name, state_text(glimpse.state), glimpse.attempt, bar, glimpse.message
        )
    return table


def summary_table(steps: Iterable[Step], found: dict[int, Operation]) -> Table:
    """Return a table of what became of each operation."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", show_edge=False, padding=0)
    table.add_column("Operation", no_wrap=True)
    table.add_column("State")
    for heading in ("Attempts", "Failures", "Stops", "Crashes", "Took"):
        table.add_column(heading, justify="right")
    table.add_column("Reason", overflow="fold")
    for step in steps:
        now = found[step.operation.pk]
        table.add_row(
            step.name,
            state_text(now.state),
            *(
                str(count) if count else ""
                for count in (now.attempts, now.failures, now.stops, now.crashes)
            ),
            took(now),
            now.reason,
        )
    return table


def took(operation: Operation) -> str:
    """Return how long the last attempt ran, if it ended the operation."""
    ended = operation.finished_run_at or operation.failed_run_at or operation.cancelled_at
    if ended is None or operation.started_run_at is None:
        return ""
    return f"{(ended - operation.started_run_at).total_seconds():.2f} s"


def effect_lines(effects: Iterable[Effect]) -> Iterable[Text]:
    """Return a line for each effect, with a mark for what was expected and what was not."""
    for effect in effects:
        mark = Text("  ✓ ", "green") if effect.as_expected else Text("  ✗ ", "bold red")
        yield mark + Text(effect.text)
