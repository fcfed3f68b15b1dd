"""Ours beside other job queues, in one run on one machine: `python -m benchmarks.peers`.

Writes results.json, a table and charts. A whole run goes to docs/benchmarks; one that is cut short
with an option goes to build/bench, unless `--output` names another folder.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from benchmarks.peers.contenders import CONTENDERS
from benchmarks.peers.environments import BUILD, ROOT
from benchmarks.peers.measures import Budget
from benchmarks.peers.runs import Run, say

PUBLISHED = ROOT / "docs" / "benchmarks"


def main() -> int:
    """Measure, or with `--report` only write table and charts again."""
    options = arguments()
    # Workers are ended and databases dropped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    output = options.output or (BUILD if is_partial(options) else PUBLISHED)
    output.mkdir(parents=True, exist_ok=True)
    results = output / "results.json"
    if not options.report:
        chosen = [
            contender
            for contender in CONTENDERS
            if (not options.only or contender.name in options.only)
            and (not options.database or contender.vendor in options.database)
        ]
        run = Run(chosen, options.variant, Budget.quick() if options.quick else Budget())
        run.results["quick"] = options.quick
        run.prepare()
        for _ in run.rounds(options.rounds):
            results.write_text(json.dumps(run.results, indent=1) + "\n")
    from benchmarks.peers import charts, table

    content = json.loads(results.read_text())
    drawn = charts.draw(content, output)
    (output / "table.md").write_text(table.markdown(content, drawn))
    say(f"Written to {output}: results.json, table.md, {', '.join(drawn)}")
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    names = sorted({contender.name for contender in CONTENDERS})
    parser = argparse.ArgumentParser("python -m benchmarks.peers", description=__doc__)
    add = parser.add_argument
    add("--only", type=_list, default=[], metavar="NAME,...", help=f"of {', '.join(names)}")
    add("--database", type=_list, default=[], metavar="NAME,...", help="on these only")
    add("--variant", type=_list, default=[], metavar="NAME,...", help="with these settings only")
    add("--rounds", type=int, default=3, help="figures are medians of so many (default: 3)")
    add("--quick", action="store_true", help="rough figures, to see whether all works")
    add("--report", action="store_true", help="measure nothing; write table and charts again")
    add("--output", type=Path, help="the folder to write to")
    options = parser.parse_args()
    if unknown := set(options.only) - set(names):
        parser.error(f"no such contender: {', '.join(unknown)} (known: {', '.join(names)})")
    return options


def is_partial(options: argparse.Namespace) -> bool:
    """Whether the run leaves something out, so that its results are not for publication."""
    return bool(options.only or options.database or options.variant or options.quick)


def _list(value: str) -> list[str]:
    return value.split(",")


if __name__ == "__main__":
    sys.exit(main())
