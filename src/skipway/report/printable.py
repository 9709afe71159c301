"""Names and texts that somebody else chose, made safe to show: every path from a file to a person goes through here.

Nothing that comes out moves a cursor, turns the order of letters around, or forges a line.
"""

from __future__ import annotations

import unicodedata
from typing import Any

# Controls, formats (among them the signs that reverse text), halves of characters, separators of lines and paragraphs.
_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # formats, too, but Persian, Hindi and families of emoji are not written without them
_PROSE = {"reason", "failures"}  # what holds whole messages, which may have several lines


def printable(text: str, keep: str = "") -> str:
    r"""The text with every sign that is not one for the eye written as Python writes it: ``\x1b``, ``\n``, ``\u202e``.

    Args:
        text: Whatever a file, a folder or an error holds.
        keep: Signs that stay as they are: a newline, where a text may have several lines.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(sign if sign in keep or _is_for_the_eye(sign) else _escaped(sign) for sign in text)


def printable_content(content: Any, keep: str = "") -> Any:
    """JSON's content with every text in it printable; only reasons keep their lines."""
    if isinstance(content, str):
        return printable(content, keep)
    if isinstance(content, list):
        return [printable_content(item, keep) for item in content]
    if isinstance(content, dict):
        return {
            printable(key): printable_content(value, "\n" if key in _PROSE else keep) for key, value in content.items()
        }
    return content


def _is_for_the_eye(sign: str) -> bool:
    return sign in _JOINERS or unicodedata.category(sign) not in _CATEGORIES


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
