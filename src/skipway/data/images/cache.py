"""Decoded data, kept: one safetensors file a source, written once and atomically, read memory-mapped.

The pixels are held to their digest whenever they are opened, which takes a fortieth of a second for CIFAR's 60,000.

The folder is ``$SKIPWAY_CACHE``, or ``skipway`` in ``$XDG_CACHE_HOME``, or ``~/.cache/skipway``. All of it can be
deleted at any time; what is missing, damaged or of an older format is decoded again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import xxhash
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from skipway.data.images.labelled import SourceData, Split, held_images

FORMAT = "2"


@dataclass(frozen=True)
class Key:
    """Which source a file was decoded from, and which state of it."""

    label: str
    """For people who look into the folder."""
    origin: str
    """Identifies the source: the cache keeps one file for each."""
    state: str
    """Changes when the source's content does."""

    @property
    def path(self) -> Path:
        """The file that holds this state."""
        return root() / f"{self._stem}-{_short(self.state)}.safetensors"

    @property
    def lock(self) -> Path:
        """The file that whoever decodes this source holds locked."""
        return root() / f"{self._stem}.lock"

    def states(self) -> list[Path]:
        """The files of this source in whatever state, the latest first."""
        found = root().glob(f"{self._stem}-*.safetensors")
        return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)

    @property
    def _stem(self) -> str:
        return f"{re.sub(r'[^A-Za-z0-9._]+', '-', self.label)}-{_short(self.origin)}"


def root() -> Path:
    """The cache's folder; it need not exist yet."""
    if own := os.environ.get("SKIPWAY_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "skipway"


def recall(key: Key, decode: Callable[[], SourceData]) -> SourceData:
    """What the cache holds for a key; where it holds nothing that can be used, decode and keep it.

    Processes that ask at the same time wait for the one that decodes.

    Args:
        key: the source and its state.
        decode: reads the source; called at most once.

    Returns:
        Tensors mapped from the file: pages are read when touched, and writing to them does not reach the file.

    Raises:
        OSError: if the cache's folder cannot be written.
    """
    held = read(key.path)
    if held is not None:
        return held
    check_writable()
    with FileLock(key.lock):
        held = read(key.path)
        if held is not None:  # another process decoded it while this one waited
            return held
        decoded = decode()
        _write(key.path, decoded)
        for old in key.states():
            if old != key.path:
                old.unlink(missing_ok=True)
    return read(key.path) or decoded


def latest(key: Key) -> SourceData | None:
    """The state that was decoded last, whichever it is: for a source that cannot be asked now."""
    return next((held for path in key.states() if (held := read(path)) is not None), None)


def read(path: Path) -> SourceData | None:
    """The content of a cache file, mapped; None where the file is missing, damaged or of another format."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
            if about.pop("digest") != _digest(tensors, about):
                return None
            splits = {
                name: Split(tensors[f"{name}.images"], tensors[f"{name}.labels"])
                for name in json.loads(about["splits"])
            }
            classes = tuple(json.loads(about["classes"]))
            return SourceData(classes, float(about["scale"]), splits, about["fingerprint"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _write(path: Path, given: SourceData) -> None:
    """Write a cache file so that a reader, or a kill at any moment, sees all of it or nothing."""
    tensors = {}
    for name, split in given.splits.items():
        tensors[f"{name}.images"] = held_images(split).contiguous()
        tensors[f"{name}.labels"] = split.labels.contiguous()
    about = {
        "format": FORMAT,
        "classes": json.dumps(given.classes),
        "scale": repr(given.scale),
        "splits": json.dumps(list(given.splits)),
        "fingerprint": given.fingerprint,
    }
    about["digest"] = _digest(tensors, about)
    side = path.with_name(f".{path.name}.part")  # one name: the lock is held, and what a kill left is overwritten
    try:
        save_file(tensors, side, metadata=about)
        with side.open("rb+") as file:
            os.fsync(file.fileno())
        side.replace(path)
    finally:
        side.unlink(missing_ok=True)


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Of all that a file holds. It finds what a disk or a copy has damaged, at the speed of memory.

    Whoever can write into the cache can write another digest, too; a cryptographic one would not prevent that, and
    takes twenty times as long.
    """
    shapes = {name: [str(tensor.dtype), *tensor.shape] for name, tensor in tensors.items()}
    digest = xxhash.xxh3_128(json.dumps({"about": {**about}, "tensors": shapes}, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()


def check_writable() -> None:
    """Make the cache's folder.

    Raises:
        OSError: if it cannot be made or written.
    """
    try:
        root().mkdir(parents=True, exist_ok=True)
        writable = os.access(root(), os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise OSError(
            f"decoded data is kept in {root()}, which cannot be written. Set SKIPWAY_CACHE to a folder that can be."
        )


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
