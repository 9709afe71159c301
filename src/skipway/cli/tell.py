"""The two ways to a person that need no library: a line on standard output, a message on standard error."""

from __future__ import annotations

import sys

from skipway.report.printable import printable


def say(text: str) -> None:
    """Print what was asked for; newlines stay, and nothing else that is not for the eye."""
    print(printable(text, keep="\n"))


def tell(text: object) -> None:
    """Print a message, such as an error: the same on standard error, at once."""
    print(printable(str(text), keep="\n"), file=sys.stderr, flush=True)
