"""A traceback that was stored as text, read back: which lines are calls, and in whose code.

Nothing is lost on the way: the pieces of a text, put together again, are the text. So a traceback
that was cut, or that Python formats otherwise one day, is still shown, as words.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Final, TypeAlias

_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_CALL: Final = re.compile(
    # The margin of an exception group is made of bars.
    r'(?P<margin>[ |]*)File "(?P<path>.+?)", line (?P<line>\d+)(?:, in (?P<name>.*))?\s*'
)
_LIBRARY: Final = re.compile(
    r"""
      [/\\](?:site|dist)-packages[/\\](?P<package>[^/\\]+)
    | [/\\]lib(?:64)?[/\\]python\d[\d.]*t?[/\\](?!(?:site|dist)-)(?P<module>[^/\\]+)
    | [/\\]python\d+\.zip[/\\](?P<zipped>[^/\\]+)
    | \\[^\\]*Python.*\\Lib\\(?!site-)(?P<windows>[^\\]+)
    | ^<frozen[ ](?P<frozen>[\w.]+)
    | [/\\](?P<ours>operator_app)[/\\](?:(?:management|models|runners)[/\\]|\w+\.py$)
    """,
    re.VERBOSE,
)
"""Where code lies that is not of the project. By patterns, since another machine may have written
the traceback; that of this package counts where it is installed from its source, too.
"""


@dataclass(frozen=True)
class Words:
    """Lines that are no call: headings, exceptions, whatever could not be read."""

    text: str


@dataclass(frozen=True)
class Call:
    """One call of a stack: the line that says where, and the source below it."""

    text: str
    path: str
    line: int
    name: str

    @property
    def library(self) -> str:
        """The library that its code is of, as "django" or "json"; empty for the project's own."""
        return library_of(self.path)


Piece: TypeAlias = Words | Call


@dataclass(frozen=True)
class Passage:
    """Pieces that follow each other and are of one sort.

    Args:
        text: their lines.
        is_stack: whether they are calls.
        libraries: the libraries that these are of, in their order; empty for the project's own.
        calls: how many they are.
    """

    text: str
    is_stack: bool = False
    libraries: tuple[str, ...] = ()
    calls: int = 0


def parse(text: str) -> list[Piece]:
    """Return the pieces of a traceback or a stack, which put together are `text`. Never raises.

    Knows chained exceptions, exception groups, syntax errors, and source of several lines with
    markers below.
    """
    pieces: list[Piece] = []
    for block, call in _blocks(text):
        if call is None:
            pieces.append(Words(block))
        else:
            name = call["name"] or ""
            pieces.append(Call(block, call["path"], int(call["line"]), name))
    return pieces


def passages(text: str) -> list[Passage]:
    """Return what is shown as one: runs of words, of calls in the project's own code, and of calls
    in libraries. Their texts, put together, are `text`.
    """
    found = []
    for (is_stack, is_library), group in groupby(parse(text), key=_sort):
        pieces = list(group)
        calls = [piece for piece in pieces if isinstance(piece, Call)]
        names = dict.fromkeys(call.library for call in calls) if is_library else {}
        whole = "".join(piece.text for piece in pieces)
        found.append(Passage(whole, is_stack, tuple(names), len(calls)))
    return found


@lru_cache(maxsize=4096)
def library_of(path: str) -> str:
    """Return the library that a file is of; empty for one of the project."""
    match = _LIBRARY.search(path)
    if match is not None:
        name = next(part for part in match.groups() if part)
        return name.removesuffix(".py")
    for place in _places():
        if path.startswith(place):
            return path[len(place) :].replace("\\", "/").partition("/")[0].removesuffix(".py")
    return ""


@lru_cache
def _places() -> tuple[str, ...]:
    """Return the directories of the libraries on this machine, wherever it has put them."""
    paths = sysconfig.get_paths()
    found = {paths[name] for name in ("purelib", "platlib", "stdlib", "platstdlib")}
    # What lies deeper is the better name.
    return tuple(f"{path}{end}" for path in sorted(found, key=len, reverse=True) for end in "/\\")


def _sort(piece: Piece) -> tuple[bool, bool]:
    is_stack = isinstance(piece, Call)
    return is_stack, isinstance(piece, Call) and bool(piece.library)


def _blocks(text: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Yield the calls with the lines that belong to them, and each other line."""
    block, call = "", None
    for line in _LINE.findall(text):
        if call is not None and _belongs(line, call["margin"]):
            block += line
            continue
        if block:
            yield block, call
        block, call = line, _CALL.fullmatch(line)
    if block:
        yield block, call


def _belongs(line: str, margin: str) -> bool:
    """Whether a line is the source of the call above it, or says how often that was repeated."""
    return line.startswith((f"{margin}  ", f"{margin}[Previous line repeated"))
