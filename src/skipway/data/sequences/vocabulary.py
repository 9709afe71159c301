"""Tokens: text cut into characters or words, and the vocabulary that a training split has of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skipway.settings.registry import UnknownNameError

PADDING, UNKNOWN = 0, 1
"""Ids of what is no token, and of a token that training had not."""
SPECIAL = 2
"""The first id of the vocabulary's own tokens."""
MOST_TOKENS = 20_000
"""A vocabulary's size; the rarest of more are unknown."""
UNITS = ("characters", "words")


def cut(text: str, unit: str) -> Sequence[str]:
    """The tokens of a text: its characters, or its words, which whitespace parts.

    Raises:
        ValueError: if the unit is another.
    """
    if unit not in UNITS:
        raise UnknownNameError("unit of text", unit, UNITS)
    return text if unit == "characters" else text.split()


class Symbols:
    """The different tokens of all splits, in the order in which they are met, and their codes."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, tokens: Iterable[str]) -> list[int]:
        """The codes of tokens; new ones get the next."""
        return [self._codes.setdefault(token, len(self._codes)) for token in tokens]

    @property
    def all(self) -> tuple[str, ...]:
        """The token of each code."""
        return tuple(self._codes)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that have an id of their own: the commonest first, of equals as they are sorted."""

    tokens: tuple[str, ...]

    @classmethod
    def fit(cls, codes: Tensor, symbols: Sequence[str]) -> Vocabulary:
        """Those of a training split; codes below 0 are no tokens."""
        counts = torch.bincount(codes[codes >= 0], minlength=len(symbols)).tolist()
        met = [code for code, count in enumerate(counts) if count]
        return cls(
            tuple(symbols[code] for code in sorted(met, key=lambda code: (-counts[code], symbols[code])))[:MOST_TOKENS]
        )

    def __len__(self) -> int:
        """How many ids there are, padding and unknown included."""
        return SPECIAL + len(self.tokens)

    def ids(self, symbols: Sequence[str]) -> Tensor:
        """The id of each code + 1, int64 (1 + symbols,); that of code -1 is padding."""
        own = {token: SPECIAL + place for place, token in enumerate(self.tokens)}
        return torch.tensor([PADDING, *(own.get(symbol, UNKNOWN) for symbol in symbols)])
