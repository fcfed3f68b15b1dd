"""Kinds whose names clash with the engine's."""

from __future__ import annotations

from django.db import models

from operator_app.models import Operation


class Cancel(Operation):
    """Its reverse accessor takes the place of `Operation.cancel()`."""

    def run(self) -> None:
        """Do nothing."""


class Retry(Operation):
    """Its parent link is the cure that the hint gives."""

    operation_ptr = models.OneToOneField(
        Operation, models.CASCADE, parent_link=True, related_name="+"
    )

    def run(self) -> None:
        """Do nothing."""
