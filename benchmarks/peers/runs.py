"""One run: every contender in turn, round after round, and the medians of what was seen."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.peers import environments, measures, places
from benchmarks.peers.contenders import Contender, Variant
from benchmarks.peers.environments import BUILD, ROOT, Unavailable
from benchmarks.peers.measures import Budget, Trial
from benchmarks.peers.processes import Client, PeerError

Figures = dict[str, Any]


class Run:
    """Measures contenders, and keeps `results` that can be written at any moment."""

    def __init__(self, contenders: Sequence[Contender], variants: Sequence[str], budget: Budget):
        self.budget = budget
        self.servers = places.servers()
        self.python = environments.interpreter()
        self._trials = [
            (contender, name)
            for contender in contenders
            for name in contender.variants
            if not variants or name in variants
        ]
        self._binaries: dict[str, Path] = {}
        self.results: Figures = {"machine": machine(self.python), "servers": self.servers}
        self.results["durability"] = {name: places.durability(name) for name in self.servers}
        self.results["rounds"] = 0
        self.results["contenders"] = {}

    def prepare(self) -> None:
        """Make the environments. Contenders without one, or without a server, are left out."""
        entries = self.results["contenders"]
        for contender in dict.fromkeys(contender for contender, _ in self._trials):
            entry: Figures = {"name": contender.name, "vendor": contender.vendor}
            entry |= {"package": contender.package, "limit": contender.limit}
            entries[contender.key] = entry
            try:
                binaries = self._environment(contender)
            except Unavailable as error:
                entry["unavailable"] = str(error)
                say(f"{contender.key}: left out: {error}")
                continue
            entry["versions"] = environments.versions(binaries)
            entry["version"] = entry["versions"].get(contender.package.lower(), "")
            entry["variants"] = {}
            self._binaries[contender.key] = binaries

    def rounds(self, count: int) -> Iterator[int]:
        """Measure everything so many times; yields after each contender, for results to be kept."""
        for number in range(1, count + 1):
            self.results["rounds"] = number
            order = self._trials if number % 2 else list(reversed(self._trials))
            for contender, name in order:
                if contender.key in self._binaries:
                    self._measure(contender, name, number)
                    yield number

    def _environment(self, contender: Contender) -> Path:
        if contender.vendor not in self.servers:
            raise Unavailable(f"no {contender.vendor} answers")
        extra = "mariadb.txt" if contender.vendor == "mariadb" else ""
        tree = contender.name == "ours"
        return environments.make(contender.folder, self.python, tree=tree, extra=extra)

    def _measure(self, contender: Contender, name: str, number: int) -> None:
        variant = contender.variants[name]
        entry = self.results["contenders"][contender.key]["variants"].setdefault(
            name, {"settings": variant.settings, "jobs": 0, "rounds": []}
        )
        say(f"round {number}: {contender.key}, {name}")
        start = time.monotonic()
        figures: Figures = {}
        try:
            with trial(contender, name, variant, self._binaries[contender.key]) as made:
                for what, seen in each_measure(made, self.budget, entry, first=number == 1):
                    figures[what] = seen
                    say(f"    {what}: {brief(seen)}")
                    if isinstance(seen, dict) and "error" in seen:
                        say(f"    what it said: {made.log.name}")
        except Exception as error:  # the others are measured all the same
            figures["error"] = f"{type(error).__name__}: {error}"
            say(f"    given up: {figures['error']}")
        figures["seconds"] = time.monotonic() - start
        entry["rounds"].append(figures)
        entry["median"] = median(entry["rounds"])


def each_measure(
    made: Trial, budget: Budget, entry: Figures, *, first: bool
) -> Iterator[tuple[str, Any]]:
    """Measure one thing after the other. What fails says so; without a drain nothing else is."""
    contender = made.contender
    steps: dict[str, Any] = {
        "enqueue": lambda: measures.enqueue(made, budget),
        "drain": lambda: drained(made, budget, entry),
    }
    if not contender.limit:
        steps["latency"] = lambda: measures.latency(made, budget)
        if contender.schedules:
            steps["lateness"] = lambda: measures.lateness(made, budget)
        # What takes long is measured once.
        if first:
            steps["idle"] = lambda: measures.idle(made, budget)
        if first and contender.future and entry["settings"] == best(contender):
            steps["future"] = lambda: measures.future(made, budget, entry["jobs"])
    for what, step in steps.items():
        try:
            yield what, step()
        except PeerError as error:
            yield what, {"error": str(error)}
            if what == "drain":
                return  # its workers do not work


def best(contender: Contender) -> str:
    """The settings of its best variant."""
    return contender.variants["best"].settings


def drained(made: Trial, budget: Budget, entry: Figures) -> float:
    """Drain as many jobs as the first round has found to be right."""
    entry["jobs"] = entry["jobs"] or measures.size(made, budget)
    return measures.drain(made, entry["jobs"], budget.drain)


@contextmanager
def trial(contender: Contender, name: str, variant: Variant, binaries: Path) -> Iterator[Trial]:
    """Have an empty database, and a client of the contender that has made its tables there."""
    slug = f"{contender.name}_{contender.vendor}_{name}".replace("-", "_").replace(" ", "_")
    folder = BUILD / "scratch" / f"{slug}_{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    logs = BUILD / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    database = f"bench_{slug}_{os.getpid()}"
    with (
        places.place(contender.vendor, database, folder) as place,
        (logs / f"{slug}.log").open("w") as log,
    ):
        environment = {
            **measures.inherited(),
            **contender.environment,
            "PYTHONPATH": str(ROOT),
            "BENCH_PLACE": json.dumps(place.description()),
            "BENCH_MARKS": str(folder / "marks"),
            "BENCH_VARIANT": name,
        }
        adapter = [str(binaries / "python"), "-m", f"benchmarks.peers.{contender.folder}.adapter"]
        client = Client(adapter, environment, folder, log)
        try:
            client.ask("prepare")
            yield Trial(contender, variant, binaries, place, client, environment, folder, log)
        finally:
            client.close()
            shutil.rmtree(folder)


def median(rounds: Sequence[Any]) -> Any:
    """Return the medians of figures of the same shape; what is missing in a round is left out."""
    seen = [figures for figures in rounds if figures is not None]
    if not seen:
        return None
    if all(isinstance(figures, int | float) for figures in seen):
        return statistics.median(seen)
    tables = [figures for figures in seen if isinstance(figures, dict)]
    if not tables:
        return (
            seen[-1]
            if isinstance(seen[-1], str)
            else statistics.median(figures for figures in seen if not isinstance(figures, str))
        )
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: median([table[name] for table in tables if name in table]) for name in names}


def machine(python: str) -> Figures:
    """What it was measured on, and when."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "tree": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "python": _output(python, "-c", "import platform; print(platform.python_version())"),
        "system": f"{platform.system()} {platform.release()}",
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": round(memory, 1),
        "load": os.getloadavg()[0],
    }


def brief(figures: Any) -> str:
    """Figures in one short line."""
    if isinstance(figures, dict):
        return ", ".join(f"{name} {brief(value)}" for name, value in figures.items())
    return f"{figures:,.1f}" if isinstance(figures, float) else str(figures).strip()[-300:]


def say(line: str) -> None:
    """Tell whoever waits for it."""
    print(line, flush=True)


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
