"""What errors of one sort have in common: where they come from, whatever they say."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from types import FrameType
from typing import Final

LENGTH: Final = 16
"""Characters of a fingerprint."""
ERRORS: Final = 10
"""How many errors are looked at: one, its causes, the members of a group."""

_HERE: Final = str(Path(__file__).parent)
_PATHS: Final = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), _HERE)
_LIBRARIES: Final = ("<frozen ", *(f"{path}{os.sep}" for path in _PATHS if path))
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def fingerprint(error: BaseException) -> str:
    """Return a short hash that errors of one sort share: the same classes, raised on the same way
    through the same functions. No message and no line number is in it, so that it outlives other
    values and edits above.

    Frames of libraries count only where there are no others: which of its functions Django goes
    through depends on its version. Of an error that was raised from another one the causes count
    too, and of a group its members. Empty if that cannot be found out. Never raises. No queries.
    """
    try:
        told = "\n".join(line for each in _related(error) for line in _lines(each))
        return blake2b(told.encode("utf-8", "replace"), digest_size=LENGTH // 2).hexdigest()
    except Exception:
        # Classes of users may do anything when they are asked for their attributes.
        return ""


def _related(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and if it is a group its members."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < ERRORS:
        this = waiting.pop(0)
        if id(this) in seen:
            continue
        seen.add(id(this))
        yield this
        members = getattr(this, "exceptions", ())
        waiting += [each for each in (this.__cause__, *_several(members)) if each is not None]


def _several(members: object) -> tuple[BaseException, ...]:
    """Return the members of a group; by its shape, since Python 3.10 has no groups of its own."""
    if not isinstance(members, tuple):
        return ()
    return tuple(each for each in members if isinstance(each, BaseException))


def _lines(error: BaseException) -> list[str]:
    kind = type(error)
    frames = [frame for frame, _line in traceback.walk_tb(error.__traceback__)]
    own = [frame for frame in frames if not _is_library(frame.f_code.co_filename)]
    # Each place once: how deep a recursion was does not matter.
    places = dict.fromkeys(_place(frame) for frame in own or frames)
    return [f"{kind.__module__}.{kind.__qualname__}", *places]


def _is_library(path: str) -> bool:
    return path.startswith(_LIBRARIES) or any(part in path for part in _INSTALLED)


def _place(frame: FrameType) -> str:
    module = frame.f_globals.get("__name__") or Path(frame.f_code.co_filename).name
    return f"{module}:{frame.f_code.co_name}"
