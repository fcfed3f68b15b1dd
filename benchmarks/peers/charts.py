"""Results as SVG charts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

from benchmarks.peers.table import Row, rows

OURS = ("#0b6e4f", "#6fbf9f")
OTHERS = ("#4a5a6a", "#aab6c2")
LIMIT = ("#b08900", "#e0c870")
STYLE = {
    "svg.hashsalt": "benchmarks",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}


def draw(results: dict[str, Any], folder: Path) -> list[str]:
    """Write every chart that there are figures for; return the names of the files."""
    found = list(rows(results))
    peers = [row for row in found if not row.limit]
    drawn = []
    with mpl.rc_context(STYLE):
        for name, title, among, pair in (
            ("drain", "jobs drained per second", found, [("drain",)]),
            (
                "enqueue",
                "jobs enqueued per second: one by one (dark), in bulk (light)",
                peers,
                [("enqueue", "one"), ("enqueue", "many")],
            ),
            (
                "latency",
                "ms from commit to begin, due now: p50 (dark), p99 (light)",
                peers,
                [("latency", "p50"), ("latency", "p99")],
            ),
            (
                "lateness",
                "ms late, scheduled: p50 (dark), p99 (light)",
                peers,
                [("lateness", "p50"), ("lateness", "p99")],
            ),
        ):
            having = [row for row in among if row.value(*pair[0]) is not None]
            if having:
                _bars(folder / f"{name}.svg", title, having, pair)
                drawn.append(f"{name}.svg")
        if any(row.value("future", "0") for row in found):
            _lines(folder / "future.svg", found)
            drawn.append("future.svg")
    return drawn


def _bars(path: Path, title: str, found: Sequence[Row], pair: Sequence[tuple[str, ...]]) -> None:
    figure, axes = plt.subplots(figsize=(9, 0.8 + 0.34 * len(found)), layout="constrained")
    height = 0.8 / len(pair)
    for place, row in enumerate(found):
        colours = OURS if row.name == "ours" else LIMIT if row.limit else OTHERS
        for number, measure in enumerate(pair):
            value = row.value(*measure)
            if value is not None:
                shown = max(value, 0.1)  # the axis is logarithmic
                middle = place + (number - (len(pair) - 1) / 2) * height
                axes.barh(middle, shown, height, color=colours[number])
                text = f" {value:,.0f}" if value >= 10 else f" {value:.1f}"
                axes.text(shown, middle, text, va="center", fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.01)
    axes.invert_yaxis()
    axes.set_yticks(range(len(found)), [f"{row.title}, {row.variant}" for row in found])
    axes.set_title(title + " (logarithmic)", loc="left")
    _save(figure, path)


def _lines(path: Path, found: Sequence[Row]) -> None:
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    counts: list[str] = []
    for row in found:
        base = row.value("future", "0")
        if not base:
            continue
        counts = list(row.figures["future"])
        left = [row.value("future", count) for count in counts]
        if None in left:
            continue
        mine = row.name == "ours"
        axes.plot(
            range(len(counts)),
            [100 * value / base for value in left if value is not None],
            marker="o",
            linewidth=2.5 if mine else 1.2,
            color=OURS[0] if mine else None,
            linestyle={"postgresql": "-", "sqlite": "--", "mariadb": ":"}[row.vendor],
            label=row.title,
        )
    axes.set_xticks(range(len(counts)), [f"{int(count):,} rows" for count in counts])
    axes.set_ylim(bottom=0)
    axes.set_title("% of the drain speed left with so many jobs not due yet", loc="left")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
