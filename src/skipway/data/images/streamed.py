"""A source whose images stay encoded: large ones, or of different sizes, or too many for memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipway.data.images.encoded import Encoded
from skipway.data.images.folder import Files
from skipway.data.images.labelled import SourceData, Split

SCALE = 255.0


@dataclass(frozen=True, eq=False)
class Rows:
    """Encoded images in the rows of a Hugging Face dataset, which are mapped from its file and read when touched."""

    dataset: Any
    """One column, undecoded."""
    column: str
    split: str

    def read(self, row: int) -> tuple[bytes, str]:
        """A row's content and what messages call it."""
        from skipway.data.images.pictures import content_of

        return content_of(self.dataset[row][self.column], f"{self.split} row {row}")


def from_files(found: Mapping[str, Files], size: int) -> SourceData:
    """Splits of image files.

    Args:
        found: what `find_files` found.
        size: pixels on a side of what a net sees.

    Raises:
        ValueError: if a split is missing, or a class has too few training images.
    """
    from skipway.data.images.decode import check_classes, choose_splits

    chosen = choose_splits(found)
    classes = tuple(sorted({name for role in chosen.values() for name in found[role].classes}))
    labels = {name: found[role].labels(classes) for name, role in chosen.items()}
    check_classes(labels, chosen, classes)
    splits = {name: _split(found[role], labels[name], size) for name, role in chosen.items()}
    known = {name: (found[role].names.bytes.numpy(), found[role].sizes.numpy()) for name, role in chosen.items()}
    return SourceData(classes, SCALE, splits, _fingerprint(classes, size, splits, known))


def from_dataset(dataset: Mapping[str, Any], size: int, label: str | None = None) -> SourceData:
    """Splits of the rows of a `datasets.DatasetDict`; `label`: which of several columns of class labels.

    Raises:
        ValueError: if splits or columns are missing or ambiguous, a label is missing, or a class has too few training
            images.
    """
    from skipway.data.images.decode import (
        check_classes,
        check_folders,
        choose_splits,
        encoded_column,
        find_columns,
        read_labels,
    )

    chosen = choose_splits(dataset)
    check_folders(dataset["train"])
    columns = find_columns(dataset["train"].features, label)
    labels = {name: read_labels(dataset[source], columns, source) for name, source in chosen.items()}
    check_classes(labels, chosen, columns.classes)
    stores = {
        name: Rows(encoded_column(dataset[source], columns.image), columns.image, source)
        for name, source in chosen.items()
    }
    splits = {name: _split(store, labels[name], size) for name, store in stores.items()}
    known = {name: _names_and_sizes(store) for name, store in stores.items()}
    return SourceData(columns.classes, SCALE, splits, _fingerprint(columns.classes, size, splits, known))


def _split(store: Files | Rows, labels: Tensor, size: int) -> Split:
    return Split(Encoded(store, torch.arange(len(labels)), size), labels)


def _names_and_sizes(store: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Of the images in a dataset's rows, as bytes and as numbers of bytes; the images themselves are not read."""
    import pyarrow.compute as compute

    cells = store.dataset.data.column(store.column)
    paths = compute.fill_null(compute.struct_field(cells, "path"), "").to_pylist()
    names = "\n".join(Path(path).name for path in paths).encode()  # where they lay when they were packed is no content
    sizes = compute.fill_null(compute.binary_length(compute.struct_field(cells, "bytes")), -1)
    return np.frombuffer(names, np.uint8), sizes.to_numpy().astype(np.int64)


def _fingerprint(
    classes: tuple[str, ...],
    size: int,
    splits: Mapping[str, Split],
    known: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> str:
    """SHA-256, in hexadecimal, of class names, the size of a net's images, and each split's names, sizes, labels.

    The images themselves are not read, which would take hours of a large data set: an image that is changed and keeps
    its name and its number of bytes goes unnoticed.
    """
    head = {"classes": classes, "image_size": size, "names": {name: len(text) for name, (text, _) in known.items()}}
    lengths = {name: len(split) for name, split in splits.items()}
    digest = hashlib.sha256(json.dumps({**head, "lengths": lengths}, sort_keys=True).encode())
    for name in sorted(splits):
        names, sizes = known[name]
        digest.update(names.tobytes())
        digest.update(sizes.tobytes())
        digest.update(splits[name].labels.numpy().tobytes())
    return digest.hexdigest()
