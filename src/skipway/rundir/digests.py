"""Digests of what was written: a file that has changed since is noticed. They are no defence against forgery."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Fingerprint = dict[str, Any]
"""``{"sha256": 64 hexadecimal digits, "bytes": how many}`` of a file."""


def fingerprint(content: bytes) -> Fingerprint:
    """Of a file's content."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def why_other(path: Path, written: Fingerprint, *, thorough: bool) -> str | None:
    """Why a file is not what was written; None if it is.

    Args:
        path: the file.
        written: its fingerprint.
        thorough: read all of it; else its size decides.
    """
    if reason := why_no_file(path):
        return reason
    try:
        size = path.stat().st_size
        if size != written["bytes"]:
            return f"it has {size:,} bytes where {written['bytes']:,} were written"
        if thorough:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != written["sha256"]:
                    return "its content is not what was written: the digests differ"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return None


def why_no_file(path: Path) -> str | None:
    """Why there is no file of its own to read at a path; None if there is one."""
    if path.is_symlink():
        return "it is a symbolic link, and none is followed"
    if path.is_file():
        return None
    return "it is not a file" if path.exists() else "it is missing"


def json_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its keys.

    Raises:
        ValueError: if it holds a number that is not finite.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
