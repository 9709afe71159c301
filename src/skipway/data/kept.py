"""What was given in memory, kept in the cache: so it has a name that a config can hold, and any process finds it.

A file's name holds the digest of its content, so equal data are one file, and a damaged one is noticed.
"""

from __future__ import annotations

from pathlib import Path

from skipway.data.images.cache import check_writable, root
from skipway.rundir.files import write_bytes

DIGITS = 16
"""Hexadecimal digits of a digest in a name."""
_ENDINGS = {"arrays": "safetensors", "frame": "parquet", "text": "json"}
KINDS = tuple(_ENDINGS)
"""What may be kept: the word before the digest in a name."""


def name_of(kind: str, digest: str) -> str:
    """As configs have it."""
    return f"{kind}:{digest[:DIGITS]}"


def path_of(name: str) -> Path:
    """The file of a name; it need not exist."""
    kind, _, digest = name.partition(":")
    return root() / f"{kind}-{digest}.{_ENDINGS[kind]}"


def is_name(text: str) -> bool:
    """Whether a text is of the form ``arrays:0123456789abcdef``."""
    kind, _, digest = text.partition(":")
    return kind in KINDS and len(digest) == DIGITS and not set(digest) - set("0123456789abcdef")


def keep(name: str, content: bytes) -> None:
    """Write a file, unless it is there.

    Raises:
        OSError: if the cache cannot be written.
    """
    path = path_of(name)
    if not path.is_file() or path.stat().st_size != len(content):
        check_writable()
        write_bytes(path, content)


def find(name: str) -> Path:
    """The file of a name.

    Raises:
        ValueError: if it is not there.
    """
    path = path_of(name)
    if not path.is_file():
        raise ValueError(
            f"data {name} are not in the cache of this machine ({root()}): they were given in memory, and kept there. "
            "Give them again, as they were: skipway.load finds the same name for them."
        )
    return path


def damaged(name: str) -> ValueError:
    """That a file does not hold what its name says."""
    return ValueError(
        f"{path_of(name)} is damaged: it does not hold what was kept as {name}. Delete it, and give the data again."
    )
