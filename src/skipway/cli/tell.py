"""The ways to a person that need no library: a line on standard output, a message or a warning on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from skipway.report.printable import printable


def say(text: str) -> None:
    """Print what was asked for; newlines stay, and nothing else that is not for the eye."""
    print(printable(text, keep="\n"))


def tell(text: object) -> None:
    """Print a message, such as an error: the same on standard error, at once."""
    print(printable(str(text), keep="\n"), file=sys.stderr, flush=True)


@contextmanager
def telling_warnings() -> Iterator[None]:
    """Let what the package warns of be told, instead of printed as it is."""
    logger, handler = logging.getLogger("skipway"), _Teller(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Teller(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(f"skipway: {record.getMessage()}")
