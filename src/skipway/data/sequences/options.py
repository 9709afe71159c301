"""The options that addresses of text have in common."""

from __future__ import annotations

from skipway.data.address import Address


def length_of(address: Address) -> int | None:
    """The length that an address asks for; None where it says nothing.

    Raises:
        ValueError: if it is no whole number from 1.
    """
    text = address.options.get("length")
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{address}: length is a number of tokens, 1 or more, such as length=64; it is {text!r}.")
    return int(text)
