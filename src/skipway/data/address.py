"""How a config says which data: a place, and what in it counts, such as ``table.csv:target=price,drop=id``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_KEYS = ("target", "drop", "text", "length", "unit")
_KEY = f"(?:{'|'.join(_KEYS)})="
_FORM = re.compile(f"(?P<place>.*?):(?P<options>{_KEY}.*)", re.DOTALL)


TABLE_ENDINGS = (".csv", ".tsv", ".parquet")
"""Of files of tables."""
TEXT_ENDINGS = (".txt",)


@dataclass(frozen=True)
class Address:
    """A place and its options."""

    place: str
    """A file, a folder, a name on the Hub, or a name of what was kept."""
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``place:key=value,key=value``; what does not end so is a place alone.

        Raises:
            ValueError: if an option comes twice, or is empty.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            return cls(text, {})
        options: dict[str, str] = {}
        for item in re.split(f",(?={_KEY})", found["options"]):
            key, _, value = item.partition("=")
            if key in options or not value:
                raise ValueError(f"{text!r} gives {key!r} {'twice' if value else 'nothing'}: write {key}=VALUE once.")
            options[key] = value
        return cls(found["place"], options)

    def __str__(self) -> str:
        told = ",".join(f"{key}={self.options[key]}" for key in _KEYS if key in self.options)
        return f"{self.place}:{told}" if told else self.place

    @property
    def name(self) -> str:
        """As a person would write it: without the folders."""
        return str(Address(Path(self.place).name, self.options))

    @property
    def is_text(self) -> bool:
        """Whether it is of text, to be read in tokens."""
        options, file = set(self.options), Path(self.place)
        return (
            self.place.startswith("text:")
            or file.suffix.lower() in TEXT_ENDINGS
            or "text" in options
            or (bool(options & {"length", "unit"}) and "target" not in options)
        )

    @property
    def is_table(self) -> bool:
        """Whether it is of a table."""
        is_file = Path(self.place).suffix.lower() in TABLE_ENDINGS
        return self.place.startswith("frame:") or is_file or bool({"target", "drop"} & set(self.options))

    @property
    def is_arrays(self) -> bool:
        """Whether it is of arrays that the cache keeps."""
        return self.place.startswith("arrays:")

    def with_options(self, **options: str | int | Iterable[str] | None) -> Address:
        """The same with more options; several columns are written with a plus.

        Raises:
            ValueError: if one is given twice and differently.
        """
        given = {
            key: value if isinstance(value, str) else str(value) if isinstance(value, int) else "+".join(value)
            for key, value in options.items()
            if value is not None and value != ()
        }
        for key, value in given.items():
            if self.options.get(key, value) != value:
                raise ValueError(f"{self} gives {key}={self.options[key]}, and {key}={value!r} was given beside it.")
        return Address(self.place, {**self.options, **given})

    def check(self, *known: str) -> None:
        """Hold the options to those that such a place has.

        Raises:
            ValueError: if there is another.
        """
        for key in self.options:
            if key not in known:
                raise ValueError(f"{self}: {key}= is not for such data. Valid: {', '.join(known) or 'none'}.")
