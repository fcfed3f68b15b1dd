"""Fixtures of the tests of commands: those of the models."""

from tests.models.conftest import make_operator, operator

__all__ = ["make_operator", "operator"]
