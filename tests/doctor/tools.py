"""What several of the doctor's tests need."""

from __future__ import annotations

from collections.abc import Iterable

from operator_app.doctor import Finding


def ids(findings: Iterable[Finding]) -> list[str]:
    """Their ids, without what all of them begin with."""
    return [finding.id.removeprefix("doctor.") for finding in findings]


def only(findings: Iterable[Finding]) -> Finding:
    """The one that there is."""
    (finding,) = findings
    return finding
