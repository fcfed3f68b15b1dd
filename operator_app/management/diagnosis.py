"""What the doctor has found, as text for a terminal or as JSON for a program."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from django.core.management.base import OutputWrapper
from rich.padding import Padding
from rich.text import Text

from operator_app.doctor import LONG, Finding, examine
from operator_app.management import arguments
from operator_app.management.console import console_of

STYLES: Final = {"problem": "bold red", "warning": "yellow", "note": "cyan"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--older-than",
        type=arguments.seconds,
        default=LONG,
        metavar="S",
        help=f"seconds after which a transaction is open for long (default: {LONG:g})",
    )


def run(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Examine, and say what was found; exit with 1 if there is a problem."""
    findings = examine(database, older_than=options["older_than"])
    if options["json"]:
        as_json(database, findings, out)
    else:
        as_text(findings, out)
    if not is_healthy(findings):
        sys.exit(1)


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether none of them is a problem."""
    return all(finding.severity != "problem" for finding in findings)


def as_text(findings: Sequence[Finding], out: OutputWrapper) -> None:
    """Write them for people, each with what to do, and at the end how many there are."""
    console = console_of(out)
    for finding in findings:
        console.print(Text(f"{finding.severity} {finding.id}", style=STYLES[finding.severity]))
        console.print(Padding(finding.message, (0, 0, 0, 2), expand=False))
        console.print(Padding(f"-> {finding.hint}", (0, 0, 0, 2), expand=False))
        console.print()
    console.print(_summary(findings))


def as_json(database: str, findings: Sequence[Finding], out: OutputWrapper) -> None:
    """Write them for programs: one object, on several lines."""
    said = {
        "database": database,
        "healthy": is_healthy(findings),
        "findings": [finding.as_dict() for finding in findings],
    }
    out.write(json.dumps(said, indent=2))


def _summary(findings: Sequence[Finding]) -> str:
    counts = {
        severity: sum(finding.severity == severity for finding in findings) for severity in STYLES
    }
    told = [
        f"{number} {severity}{'s' if number > 1 else ''}"
        for severity, number in counts.items()
        if number
    ]
    if not told:
        return "Nothing is wrong."
    if is_healthy(findings):
        told[0] = f"No problem: {told[0]}"
    return f"{', '.join(told)}."
