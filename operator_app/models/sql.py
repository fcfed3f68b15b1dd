"""Statements in SQL, written over several lines for those who read the code."""

from __future__ import annotations


def on_one_line(statement: str) -> str:
    """Return a statement as the log of statements has those of the ORM."""
    return " ".join(statement.split())
