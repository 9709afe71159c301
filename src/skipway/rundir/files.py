"""Files that are whole or not there: written beside their place and renamed, sealed with a digest."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from skipway.rundir.digests import json_digest, why_no_file
from skipway.rundir.layout import ASIDE, FORMAT, Json, home_of

_MOST_JSON_BYTES = 2**28


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON; a reader, or a kill at any moment, sees the old file or the new one. NaN and infinities: null."""
    write_bytes(path, (json.dumps(finite(content), indent=1, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: beside its place, flushed to the disk, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    side = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        side.unlink(missing_ok=True)
        with side.open("xb") as file:  # never through a link that lies there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        side.replace(path)
        _flush_folder(path.parent)
    finally:
        side.unlink(missing_ok=True)


def refuse_links(folder: Path) -> None:
    """Refuse a study or a run that holds a symbolic link, before anything is written into it, moved or cleared.

    The directory itself may be reached by a link, since whoever named it chose that.

    Raises:
        ValueError: if there is one; the message names it.
    """
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            link = os.path.join(path, name)  # noqa: PTH118  (a Path each would take a second of a large study)
            if os.path.islink(link):  # noqa: PTH114
                raise ValueError(
                    f"{link} is a symbolic link. In a directory that is written to none is followed: put what it "
                    "leads to in its place, or delete it. The directory as a whole may lie elsewhere."
                )


def clear_sides(folder: Path) -> None:
    """Delete what killed writers left beside the files of a folder that they were about to write."""
    for side in folder.glob(".*.*"):
        writer = side.suffix[1:]
        # One of this process's own number is that of a namesake before it: here nothing is being written.
        if writer.isdecimal() and (int(writer) == os.getpid() or not _lives(int(writer))):
            side.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _flush_folder(folder: Path) -> None:
    """Let a renamed file outlive a loss of power, where folders can be opened (not on Windows)."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class DamagedError(ValueError):
    """A file of a run or a study does not hold what was written there.

    Attributes:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        home = shlex.quote(str(home_of(self.path.parent)))
        return (
            f"{self.path} is damaged: {self.reason}. `skipway check {home} --mend` sets it aside; started again, the "
            "command that wrote it makes it anew and keeps all that is whole."
        )


def read_json(path: Path) -> Json:
    """Read a JSON object.

    Raises:
        ValueError: if the file holds something else; the message names the file.
        OSError: if it cannot be read.
    """
    size = path.stat().st_size
    if size > _MOST_JSON_BYTES:
        raise ValueError(
            f"{path} is not readable as JSON: it has {size:,} bytes, and up to {_MOST_JSON_BYTES:,} are read."
        )
    try:
        content = json.loads(path.read_bytes().decode(), object_pairs_hook=_each_once, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{path} is not readable as JSON: {reason}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a JSON object.")
    return content


def _each_once(pairs: list[tuple[str, Any]]) -> Json:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return content


def no_number(name: str) -> Any:
    """Refuse what Python's reader takes for a number and JSON does not have: NaN, Infinity."""
    raise ValueError(f"JSON has no {name}")


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a digest of itself, as `write_json` does."""
    plain = json.loads(json.dumps(finite(content), allow_nan=False))  # as it will be read: keys are text, lists lists
    write_json(path, {**plain, "digest": json_digest(plain)})


def read_sealed(path: Path) -> Json:
    """Read what `write_sealed` wrote, without its digest.

    Raises:
        DamagedError: if it is not what was written, or was written in another format than `FORMAT`.
    """
    if reason := why_no_file(path):
        raise DamagedError(path, reason)
    try:
        content = read_json(path)
        digest = content.pop("digest", None)
        same = digest == json_digest(content)
    except ValueError as error:
        raise DamagedError(path, str(error).removeprefix(f"{path} ").rstrip(".")) from error
    except OSError as error:
        raise DamagedError(path, f"it cannot be read: {error.strerror}") from error
    if content.get("format", FORMAT) != FORMAT:
        raise DamagedError(path, f"its format is {content['format']!r}, and this version of Skipway reads {FORMAT}")
    if not same:
        found = "it has none" if digest is None else "it has another"
        raise DamagedError(path, f"its content is not what was written: that has a digest, and {found}")
    return content


def set_aside(path: Path) -> Path:
    """Move a damaged file or directory into `ASIDE` beside it, out of everybody's way. Returns its new place."""
    aside = path.parent / ASIDE
    if aside.is_symlink():
        raise ValueError(f"{aside} is a link to another place: nothing is moved there. Remove the link.")
    aside.mkdir(exist_ok=True)
    place, count = aside / path.name, 1
    while os.path.lexists(place):
        count += 1
        place = aside / f"{path.name}-{count}"
    return path.rename(place)


def finite(value: Any) -> Any:
    """JSON has no NaN: a number that is not finite becomes null; status and reason say why it was not."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [finite(item) for item in value]
    return value
