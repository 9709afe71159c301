"""What an exception says to a person, as text: its kind, its message, and the line of the user's that it came from.

Exceptions do not travel between processes: one that cannot be pickled would end the worker that sends it, and one that
cannot be unpickled the process that receives it.
"""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from traceback import FrameSummary

import skipway

_OURS = str(Path(skipway.__file__).parent)
_LIBRARIES = tuple({sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")})


def told(error: BaseException) -> str:
    """An exception in one sentence: ``ZeroDivisionError: division by zero (gates.py, line 12, in forward)``.

    The place is the innermost one in the user's own files; where there is none, the innermost of all.
    """
    try:
        message = str(error)
    except Exception:  # an exception may be anybody's class
        message = "its message cannot be shown"
    frames = traceback.extract_tb(error.__traceback__)
    place = next(filter(_is_users, reversed(frames)), frames[-1] if frames else None)
    where = f" ({place.filename}, line {place.lineno}, in {place.name})" if place else ""
    return f"{type(error).__name__}: {message}".removesuffix(": ") + where


def _is_users(frame: FrameSummary) -> bool:
    return not frame.filename.startswith((_OURS, *_LIBRARIES, "<frozen"))
