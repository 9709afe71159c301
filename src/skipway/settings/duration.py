"""Times as people write them: ``90s``, ``10m``, ``1h30m``."""

from __future__ import annotations

import math
import re

_FORM = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def seconds(given: float | str, name: str, *, least: float) -> float:
    """A time in seconds; a number alone is seconds.

    Args:
        given: what somebody wrote.
        name: what the message calls it.
        least: seconds that it must be.

    Raises:
        ValueError: if it is none, or too short.
    """
    if isinstance(given, str):
        found = _FORM.fullmatch(given.strip()) if given.strip() else None
        parts = found.groupdict() if found else {}
        if not any(parts.values()):
            raise ValueError(f"{name} {given!r} is no time: write 90s, 10m or 1h30m; a number alone is seconds.")
        given = sum(float(value) * _SECONDS[unit] for unit, value in parts.items() if value)
    if not math.isfinite(given) or given < least:
        raise ValueError(f"{name} must be {least:g} seconds or more, finite; it is {given:g} s.")
    return float(given)
