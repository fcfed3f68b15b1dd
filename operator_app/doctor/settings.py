"""What is found about the settings and the kinds: what the system checks say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.core import checks

from operator_app.doctor.finding import Finding

OTHERS: Final = {"operator_app.W003", "operator_app.W008"}
"""Those that the doctor has findings of his own for."""


UNUSABLE: Final = ("(operator_app.E001)", "(operator_app.E002)")
"""How the message of a finding ends after which nothing else can be looked for."""


def failed_checks(alias: str) -> Iterator[Finding]:
    """Yield a problem for each error and a warning for each warning of our system checks, that of
    the database included, unless it is silenced. Queries as these have.
    """
    for message in checks.run_checks(tags=["operator_app"], databases=[alias]):
        if message.id in OTHERS or message.is_silenced():
            continue
        said = f"{message.msg} ({message.id})"
        if message.is_serious():
            yield Finding("doctor.check", "problem", said, message.hint or "")
        else:
            yield Finding("doctor.check", "warning", said, message.hint or "")
