"""A folder of image files, a million of them if need be: which there are, and reading one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skipway.data.guard import IMAGE_ENDINGS, check_regular

ROLES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of folders, and the split that such a folder holds."""


class Names(Sequence[str]):
    """File names in two tensors: worker processes share these, where each would copy a list of a million."""

    def __init__(self, names: Sequence[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self.bytes = torch.from_numpy(np.frombuffer(b"".join(encoded), np.uint8).copy())
        self._ends = torch.tensor([0, *accumulate(map(len, encoded))])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # no slices
        start, end = self._ends[index : index + 2].tolist()
        return os.fsdecode(self.bytes[start:end].numpy().tobytes())


@dataclass(frozen=True, eq=False)
class Files:
    """Image files of one split, as CLASS/FILE in a folder."""

    folder: Path
    names: Names
    """Relative to the folder, in order."""
    sizes: Tensor
    """int64, (N,), bytes."""
    classes: tuple[str, ...]
    """Those that have a file here, in order."""
    counts: tuple[int, ...]
    """How many files each of these has; the files of a class are next to each other."""

    def read(self, row: int) -> tuple[bytes, str]:
        """A file's content and its path."""
        from skipway.data.images.pictures import check_not_empty, reading

        path = self.folder / self.names[row]
        with reading(str(path)):
            content = path.read_bytes()
        return check_not_empty(content, str(path)), str(path)

    def labels(self, classes: Sequence[str]) -> Tensor:
        """Each file's class as its place among `classes`, int64 (N,)."""
        places = torch.tensor([classes.index(name) for name in self.classes])
        return places.repeat_interleave(torch.tensor(self.counts))


def find_files(folder: Path) -> dict[str, Files]:
    """The image files of each split that a folder holds as SPLIT/CLASS/FILE; a class may have folders of its own.

    A split's folder is called by one of `ROLES`. Hidden files, and those whose name ends otherwise than images' do, are
    not data; a split without folders of classes, such as ImageNet's test images, is none.

    Raises:
        ValueError: if two folders are one split, if what is called as an image is no file, or if a folder lies within
            itself by a link.
    """
    found: dict[str, Files] = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and path.name.lower() in ROLES):
        files = _files(place)
        if not files.counts:
            continue
        role = ROLES[place.name.lower()]
        if role in found:
            raise ValueError(
                f"{found[role].folder} and {place} are both the {role} split; a data set has one, so move one away."
            )
        found[role] = files
    return found


def _files(folder: Path) -> Files:
    names, sizes, counts = [], [], {}
    for of_class in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not _hidden(entry.name)):
        found = sorted(_walk(folder / of_class, of_class))
        names += [name for name, _ in found]
        sizes += [size for _, size in found]
        if found:
            counts[of_class] = len(found)
    return Files(folder, Names(names), torch.tensor(sizes), tuple(counts), tuple(counts.values()))


def _walk(folder: Path, name: str, above: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """(name, bytes) of every image file under a folder; `above`: the folders on the way there."""
    own = os.path.realpath(folder)
    if own in above:
        raise ValueError(f"{folder} is a link to a folder that it lies in: there would be no end of files. Delete it.")
    with os.scandir(folder) as entries:
        for entry in entries:
            inner = f"{name}/{entry.name}"
            if _hidden(entry.name):
                continue
            if entry.is_dir():
                yield from _walk(folder / entry.name, inner, (*above, own))
            elif entry.name.lower().endswith(IMAGE_ENDINGS):
                check_regular(folder / entry.name)
                yield inner, entry.stat().st_size


def _hidden(name: str) -> bool:
    return name.startswith(".")
