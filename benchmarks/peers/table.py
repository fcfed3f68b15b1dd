"""Results as Markdown: tables with ratios to ours, and a list of where others are better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

VENDORS = {
    "postgresql": "PostgreSQL",
    "sqlite": "SQLite",
    "mariadb": "MariaDB",
    "redis": "Redis",
}


@dataclass(frozen=True)
class Row:
    """A contender with one variant, and ours beside it."""

    name: str
    vendor: str
    variant: str
    entry: dict[str, Any]
    figures: dict[str, Any]
    ours: dict[str, Any]
    limit: bool

    @property
    def title(self) -> str:
        """How it is called in tables and charts."""
        return f"{self.name}, {VENDORS[self.vendor]}"

    def value(self, *path: str) -> float | None:
        """Return a figure."""
        return dig(self.figures, path)

    def ratio(self, *path: str, less: bool = False) -> float | None:
        """How many times better ours is; with `less`, the smaller figure is the better one. None
        where there is nothing to compare, as with what begins before its time.
        """
        theirs, mine = dig(self.figures, path), dig(self.ours, path)
        if self.name == "ours" or not theirs or not mine or theirs < 0 or mine < 0:
            return None
        return theirs / mine if less else mine / theirs


@dataclass(frozen=True)
class Column:
    """A figure of a table."""

    title: str
    path: tuple[str, ...]
    form: str = "{:,.0f}"
    less: bool = True
    compared: bool = True


THROUGHPUT = [
    Column("drained /s", ("drain",), less=False),
    Column("enqueued one by one /s", ("enqueue", "one"), less=False),
    Column("enqueued in bulk /s", ("enqueue", "many"), less=False),
]
PUNCTUALITY = [
    Column("due now, p50 ms", ("latency", "p50"), "{:,.1f}"),
    Column("p99 ms", ("latency", "p99"), "{:,.1f}"),
    Column("scheduled, p50 ms late", ("lateness", "p50"), "{:,.1f}"),
    Column("p99 ms late", ("lateness", "p99"), "{:,.1f}"),
]
IDLE = [
    Column("queries /s", ("idle", "queries"), "{:,.1f}"),
    Column("processor %", ("idle", "cpu"), "{:,.1f}"),
    Column("RSS MiB", ("idle", "rss"), compared=False),
    Column("PSS MiB", ("idle", "pss")),
    Column("processes", ("idle", "processes"), compared=False),
]


CHARTS = {
    "drain.svg": "Jobs drained per second",
    "enqueue.svg": "Jobs enqueued per second",
    "latency.svg": "Milliseconds from commit to begin",
    "lateness.svg": "Milliseconds late",
    "future.svg": "Drain speed with jobs that are not due",
}


def markdown(results: dict[str, Any], charts: Sequence[str]) -> str:
    """Return everything that the page of the benchmarks includes."""
    found = list(rows(results))
    parts = [
        _machine(results),
        "## Throughput",
        "Jobs per second. In brackets: how many times faster ours is on the same database with the "
        "same sort of settings (beside Redis: ours on PostgreSQL).",
        _table(found, THROUGHPUT),
        "## Punctuality",
        "Milliseconds. In brackets: how many times shorter ours is.",
        _table([row for row in found if not row.limit], PUNCTUALITY),
        "## With nothing to do",
        "Queries are transactions of its database on PostgreSQL, and statements of the whole "
        "server on MariaDB and Redis; SQLite counts none. PSS is memory with what processes share "
        "divided among them.",
        _table([row for row in found if not row.limit], IDLE),
        "## With jobs that are not due",
        "Jobs drained per second while so many others wait in the same tables for tomorrow; best "
        "settings. In brackets: what is left of the speed with none.",
        _future(found),
        "## Where others are better",
        _better(found),
        "## Charts",
        *(f"![{CHARTS[name]}]({name})" for name in charts),
        "## Versions and settings",
        _settings(results),
    ]
    return "\n\n".join(parts) + "\n"


def rows(results: dict[str, Any]) -> Iterator[Row]:
    """Every contender and variant that has figures, in the order of the run."""
    contenders = results["contenders"]
    for entry in contenders.values():
        for variant, measured in entry.get("variants", {}).items():
            ours = contenders.get(f"ours/{entry['vendor']}") or contenders.get("ours/postgresql")
            same = variant if variant in {"defaults", "best"} else _counterpart(variant)
            beside = (ours or {}).get("variants", {}).get(same, {}).get("median", {})
            yield Row(
                name=entry["name"],
                vendor=entry["vendor"],
                variant=variant,
                entry=entry,
                figures=measured.get("median", {}),
                ours=beside,
                limit=entry["limit"],
            )


def dig(figures: dict[str, Any], path: tuple[str, ...]) -> float | None:
    """Return a figure from within figures; None if it was not measured."""
    found: Any = figures
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, int | float) else None


def _counterpart(variant: str) -> str:
    """With which of our variants a limit is compared."""
    return "best" if variant == "two processes" else "defaults"


def _table(found: list[Row], columns: list[Column]) -> str:
    lines = ["| | settings |" + "".join(f" {column.title} |" for column in columns)]
    lines.append("|---|---|" + "--:|" * len(columns))
    for row in found:
        cells = (_cell(row, column) for column in columns)
        name = f"**{row.title}**" if row.name == "ours" else row.title
        lines.append(f"| {name} | {row.variant} |" + "".join(f" {cell} |" for cell in cells))
    return "\n".join(lines)


def _cell(row: Row, column: Column) -> str:
    value = row.value(*column.path)
    if value is None:
        return "-"
    cell = column.form.format(value)
    ratio = row.ratio(*column.path, less=column.less) if column.compared else None
    return f"{cell} ({times(ratio)})" if ratio is not None else cell


def times(ratio: float) -> str:
    """A ratio with two digits that count."""
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"


def _future(found: list[Row]) -> str:
    having = [row for row in found if dig(row.figures, ("future", "0")) is not None]
    counts = sorted({int(count) for row in having for count in row.figures["future"]})
    lines = ["| |" + "".join(f" {count:,} rows |" for count in counts)]
    lines.append("|---|" + "--:|" * len(counts))
    for row in having:
        base = row.value("future", "0")
        cells = []
        for count in counts:
            value = row.value("future", str(count))
            cells.append(f"{value:,.0f} ({value / base:.0%})" if value and base else "-")
        name = f"**{row.title}**" if row.name == "ours" else row.title
        lines.append(f"| {name} |" + "".join(f" {cell} |" for cell in cells))
    return "\n".join(lines)


def _better(found: list[Row]) -> str:
    """List every figure in which a peer beats ours by more than what rounds differ."""
    peers = [row for row in found if not row.limit and row.name != "ours"]
    if not any(row.ours for row in peers):
        return "Nobody was measured beside ours."
    lines = []
    compared: list[tuple[str, Column]] = [
        (column.title, column) for column in [*THROUGHPUT, *PUNCTUALITY, *IDLE] if column.compared
    ]
    for title, column in compared:
        ahead = sorted(
            (ratio, f"{row.title}, {row.variant} ({1 / ratio:.1f}x)")
            for row in peers
            if (ratio := row.ratio(*column.path, less=column.less)) and ratio < 0.95
        )
        if ahead:
            group = _group(column)
            lines.append(f"- **{group}{title}**: {'; '.join(text for _, text in ahead)}.")
    return "\n".join(lines) or "Nowhere in this run."


def _group(column: Column) -> str:
    if column in IDLE:
        return "idle, "
    if column.path[1:] == ("p99",):
        return "due now, " if column.path[0] == "latency" else "scheduled, "
    return ""


def _settings(results: dict[str, Any]) -> str:
    lines = ["| | version | settings | | jobs drained |", "|---|---|---|---|--:|"]
    for entry in results["contenders"].values():
        title = f"{entry['name']}, {VENDORS[entry['vendor']]}"
        if "unavailable" in entry:
            why = entry["unavailable"].splitlines()[-1].replace("|", "/")
            lines.append(f"| {title} | - | left out: {why} | | |")
        for variant, measured in entry.get("variants", {}).items():
            version = f"{entry['package']} {entry['version']}"
            jobs = f"{measured['jobs']:,}" if measured["jobs"] else "-"
            settings = measured["settings"]
            lines.append(f"| {title} | {version} | {variant} | {settings} | {jobs} |")
    failed = list(_failures(results))
    return "\n".join(lines) + ("\n\nWhat could not be measured:\n\n" + "\n".join(failed)) * bool(
        failed
    )


def _failures(results: dict[str, Any]) -> Iterator[str]:
    """What went wrong, each once."""
    seen = set()
    for entry in results["contenders"].values():
        for variant, measured in entry.get("variants", {}).items():
            for figures in measured["rounds"]:
                for what, error in _errors(figures):
                    line = (
                        f"- {entry['name']}, {VENDORS[entry['vendor']]}, {variant}: {what}: {error}"
                    )
                    if line not in seen:
                        seen.add(line)
                        yield line


def _errors(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    last: Callable[[str], str] = lambda text: text.strip().splitlines()[-1]  # noqa: E731
    if "error" in figures:
        yield "all", last(figures["error"])
    for what, seen in figures.items():
        if isinstance(seen, dict) and "error" in seen:
            yield what, last(seen["error"])


def _machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    servers = ", ".join(results["servers"].values())
    safe = "; ".join(
        f"{VENDORS[vendor]}: " + ", ".join(f"{name} {value}" for name, value in settings.items())
        for vendor, settings in results["durability"].items()
    )
    quick = "**A quick run, to see whether all works: its figures are rough.**\n\n"
    return quick * results["quick"] + (
        f"Measured {machine['when'][:10]} at {machine['tree']} on {machine['cores']} cores "
        f"({machine['processor']}), {machine['memory']:.0f} GiB, {machine['system']}; Python "
        f"{machine['python']}; {servers}. Medians of {results['rounds']} rounds. Load when it "
        f"began: {machine['load']:.1f}.\n\n"
        f"What makes a commit safe was left as the servers have it: {safe}."
    )
