"""A corpus: a text file, a folder with one for each split, or strings in memory; cut into samples of fixed length."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from skipway.data import kept
from skipway.data.address import TEXT_ENDINGS, Address
from skipway.data.dataset import Request
from skipway.data.fingerprint import fingerprint
from skipway.data.guard import check_regular
from skipway.data.samples import Samples
from skipway.data.sequences.dataset import Corpus
from skipway.data.sequences.options import length_of
from skipway.data.sequences.vocabulary import Symbols, cut
from skipway.data.split_files import split_files
from skipway.data.splits import NAMES, divide
from skipway.data.targets import NEXT_TOKEN

LENGTH = 64
"""Tokens of a sample, where nobody says."""


def load(address: Address, request: Request) -> Corpus:
    """A corpus in splits: of one text, samples held out at random. No token is the input of two samples.

    Args:
        address: of a text; ``length`` is that of a sample, ``unit`` what a token is: characters (the usual) or words.
        request: how splits are made.

    Raises:
        ValueError: if there is no such text, or it is too short for so many splits.
    """
    address.check("length", "unit")
    unit, length = address.options.get("unit", "characters"), length_of(address) or LENGTH
    symbols = Symbols()
    codes = {split: torch.tensor(symbols.codes(cut(text, unit))) for split, text in _texts(address.place).items()}
    # A sample's last target is the next one's first input.
    counts = {split: max(0, len(tokens) - 1) // length for split, tokens in codes.items()}
    _check_long_enough(address, counts, length, unit)
    inputs = torch.cat([codes[split][: n * length].view(n, length) for split, n in counts.items()])
    targets = torch.cat([codes[split][1 : n * length + 1].view(n, length) for split, n in counts.items()])
    splits = divide(Samples(inputs, targets), counts, (), request)
    about = {"symbols": symbols.all, "unit": unit, "sizes": counts}
    return Corpus(
        name=address.name,
        fingerprint=fingerprint({"inputs": inputs, "targets": targets}, about),
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        validation_rule=splits.rule,
        task=NEXT_TOKEN,
        symbols=symbols.all,
        unit=unit,
        length=length,
    )


def keep(source: Any) -> str | None:
    """Keep strings, or a dictionary of such by split; returns their name, and None where this is something else.

    Of several strings each begins a new line.
    """
    is_split = isinstance(source, Mapping) and "train" in source and not set(source) - set(NAMES)
    given = {name: source[name] for name in NAMES if name in source} if is_split else {"train": source}
    if not all(
        isinstance(text, list) and text and all(isinstance(line, str) for line in text) for text in given.values()
    ):
        return None
    content = json.dumps({split: "\n".join(lines) for split, lines in given.items()}).encode()
    name = kept.name_of("text", hashlib.sha256(content).hexdigest())
    kept.keep(name, content)
    return name


def _texts(place: str) -> dict[str, str]:
    """The text of each split."""
    if kept.is_name(place):
        content = kept.find(place).read_bytes()
        if kept.name_of("text", hashlib.sha256(content).hexdigest()) != place:
            raise kept.damaged(place)
        found: dict[str, str] = json.loads(content)
        return found
    path = Path(place).expanduser()
    if not path.exists():
        raise ValueError(f"there is no text {place!r}. Valid: FILE.txt, or a folder with train.txt and test.txt.")
    files = split_files(path, TEXT_ENDINGS) if path.is_dir() else {"train": [path]}
    return {split: "\n".join(map(_read, paths)) for split, paths in files.items()}


def _read(path: Path) -> str:
    check_regular(path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8: {error}. Write it as such.") from error


def _check_long_enough(address: Address, counts: Mapping[str, int], length: int, unit: str) -> None:
    for split, count in counts.items():
        if not count:
            raise ValueError(
                f"{address.name}: {split} has less than the {length + 1} {unit} of one sample: give length=."
            )
