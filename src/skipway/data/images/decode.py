"""From a Hugging Face dataset of encoded images to checked uint8 tensors.

Every refusal is a `ValueError` that names the split, the row (counted from 0, as datasets counts) and the rule.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skipway.data.images.labelled import SourceData, Split, fingerprint

SCALE = 255.0
_CHUNK = 256  # rows that one task of the pool decodes
# Threads pay from about this many pixels an image: below, the interpreter's lock costs more than two cores give
# (measured, PNG on two cores, microseconds an image alone and with two threads: 32 x 32, 55 and 86; 64 x 64, 149 and
# 129; 224 x 224, 1419 and 810).
_PIXELS_WORTH_THREADS = 64 * 64


class Columns(NamedTuple):
    """Where images and labels are in a dataset."""

    image: str
    label: str
    classes: tuple[str, ...]


class Size(NamedTuple):
    """The size that every image must have, and where it was first seen."""

    height: int
    width: int
    where: str


def decode(dataset: Mapping[str, Any], label: str | None = None) -> SourceData:
    """Decode and check all splits of a dataset.

    Args:
        dataset: a `datasets.DatasetDict`.
        label: the column of class labels, where there are several.

    Returns:
        Its splits, (N, C, H, W): C is 1 where every image is grey, otherwise 3.

    Raises:
        ValueError: if splits or columns are missing or ambiguous, or a row or the whole breaks a rule.
    """
    chosen = choose_splits(dataset)
    check_folders(dataset["train"])
    columns = find_columns(dataset["train"].features, label)
    labels = {name: read_labels(dataset[source], columns, source) for name, source in chosen.items()}
    check_classes(labels, chosen, columns.classes)
    size = _first_size(dataset["train"], columns)
    _check_fits(size, sum(map(len, labels.values())))
    images = {name: _images(dataset[source], columns, source, size) for name, source in chosen.items()}
    channels = max(tensor.shape[1] for tensor in images.values())
    splits = {name: Split(images[name].expand(-1, channels, -1, -1).contiguous(), labels[name]) for name in chosen}
    return SourceData(columns.classes, SCALE, splits, fingerprint(columns.classes, SCALE, splits))


def choose_splits(found: Iterable[str]) -> dict[str, str]:
    """Which of a source's splits serve as train, test and (where it has one to spare) validation.

    Without a test split, validation is the test: many Hub data sets keep the labels of their test split to themselves.
    """
    names = list(found)
    rule = "a data set needs the splits train and test, or train and validation, which then serves as test"
    if "train" not in names:
        raise ValueError(f"there is no train split; found: {', '.join(names)}. The rule: {rule}.")
    if "test" in names:
        return {name: name for name in ("train", "validation", "test") if name in names}
    if "validation" in names:
        return {"train": "train", "test": "validation"}
    raise ValueError(f"there is no test split; found: {', '.join(names)}. The rule: {rule}.")


def find_columns(features: Mapping[str, Any], label: str | None = None) -> Columns:
    """The one column of images and the one column of class labels, or that of the labels which is asked for.

    Raises:
        ValueError: if there is none, or more than one, of either; the message lists the columns.
    """
    import datasets

    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    listing = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
    rule = "The rule: one Image column and one ClassLabel column."
    if len(images) != 1:
        table = "" if images else " For a table without images, name what is to be learned: ':target=COLUMN'."
        raise ValueError(f"{_there_are(images, 'Image')}; columns: {listing}. {rule}{table}")
    if not labels:
        layout = "Image files need the layout train/CLASS/FILE with two classes or more."
        raise ValueError(f"{_there_are(labels, 'ClassLabel')}; columns: {listing}. {rule} {layout}")
    ways = " or ".join(f"':label={name}'" for name in labels)
    if label is None and len(labels) > 1:
        raise ValueError(
            f"{_there_are(labels, 'ClassLabel')}; columns: {listing}. {rule} "
            f"Choose by writing {ways} behind the data set's name or folder."
        )
    if label is not None and label not in labels:
        raise ValueError(f"':label={label}' names no ClassLabel column; columns: {listing}. Valid: {ways}.")
    chosen = label or labels[0]
    return Columns(images[0], chosen, tuple(features[chosen].names))


def _there_are(found: list[str], what: str) -> str:
    return f"there are {len(found)} {what} columns" if found else f"there is no {what} column"


def check_folders(train: Any) -> None:
    """Refuse image files that are all in one folder; `datasets` makes a label column of two folders or more."""
    import datasets

    (image, feature), *others = train.features.items()
    if others or not isinstance(feature, datasets.Image):
        return
    paths = [cell["path"] for cell in encoded_column(train, image)[:][image] if cell]
    folders = {Path(path).parent.name for path in paths if path}
    if len(folders) == 1 and folders != {""}:
        raise ValueError(
            f"every train row is of one class, {folders.pop()!r}; a classifier needs two classes or more. "
            "Image files need the layout train/CLASS/FILE."
        )


def _kind(feature: Any) -> str:
    """What a column is, for people: `int64` for a plain value, otherwise the feature's type, such as `Image`."""
    kind = type(feature).__name__
    return str(feature.dtype) if kind == "Value" else kind


def read_labels(dataset: Any, columns: Columns, split: str) -> Tensor:
    """The labels of a split, int64 (N,)."""
    labels = dataset.select_columns([columns.label])[:][columns.label]
    if not labels:
        raise ValueError(f"the {split} split has no rows; it needs images of every class.")
    if all(label is None for label in labels):
        raise ValueError(
            f"no row of the {split} split has a label; every row needs one. Image files have it from the layout "
            f"{split}/CLASS/FILE with two classes or more in the {split} split."
        )
    count = len(columns.classes)
    for row, label in enumerate(labels):
        if label is None or label == -1:
            raise ValueError(
                f"{split} row {row}: the label is missing ({label}). Every row needs one, 0 to {count - 1}."
            )
        if not 0 <= label < count:
            raise ValueError(
                f"{split} row {row}: the label is {label}, but {count} classes have the labels 0 to {count - 1}."
            )
    return torch.tensor(labels, dtype=torch.int64)


def check_classes(labels: Mapping[str, Tensor], chosen: Mapping[str, str], classes: tuple[str, ...]) -> None:
    """Two classes or more, each with two training images or more. A name that no split uses is let pass."""
    counts = {name: torch.bincount(values, minlength=len(classes)).tolist() for name, values in labels.items()}
    present = [name for name, count in zip(classes, counts["train"], strict=True) if count]
    if len(present) == 1:
        raise ValueError(f"every train row is of one class, {present[0]!r}; a classifier needs two classes or more.")
    for c, name in enumerate(classes):
        train = counts["train"][c]
        for split in counts:
            if split != "train" and counts[split][c] and not train:
                row = int((labels[split] == c).nonzero()[0])
                raise ValueError(
                    f"{chosen[split]} row {row}: class {name!r} is not in the train split; "
                    "a class that is tested needs at least 2 train rows."
                )
        if train == 1:
            row = int((labels["train"] == c).nonzero()[0])
            raise ValueError(
                f"train row {row} is the only one of class {name!r}; "
                "a class needs at least 2 train rows, one to learn from and one to hold out."
            )


def _first_size(dataset: Any, columns: Columns) -> Size:
    """The size of the first train image."""
    rows = encoded_column(dataset, columns.image)
    height, width = _pixels(rows[0][columns.image], "train row 0").shape[:2]
    return Size(height, width, "train row 0")


def _check_fits(size: Size, count: int) -> None:
    """Refuse what decoded would not fit into the memory, before any of it is taken; grey images take a third of it."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else sys.maxsize
    needed = count * size.height * size.width
    if needed > pages:
        raise ValueError(
            f"{count:,} images of {size.width} x {size.height} pixels take {needed / 2**30:,.0f} GiB decoded, and this "
            f"machine has {pages / 2**30:,.0f}. Let them be cropped while training goes on: `--image-size 224` (in "
            "Python image_size=224), or whatever size suits the net."
        )


def _images(dataset: Any, columns: Columns, split: str, size: Size) -> Tensor:
    """The images of a split, uint8 (N, C, H, W), C = 1 if all are grey, otherwise 3."""
    workers = os.cpu_count() or 1 if size.height * size.width >= _PIXELS_WORTH_THREADS else 1
    task = partial(_decode_chunk, split=split, size=size)
    with ThreadPoolExecutor(workers) as pool:
        chunks = pool.map(task, *zip(*_chunks(encoded_column(dataset, columns.image), columns.image), strict=True))
        pixels = np.concatenate(_same_channels(list(chunks)))
    tensor = torch.from_numpy(pixels)
    return tensor[:, None] if tensor.dim() == 3 else tensor.permute(0, 3, 1, 2).contiguous()


def encoded_column(dataset: Any, image: str) -> Any:
    """The dataset's column of images, as `{"bytes": ..., "path": ...}`, undecoded."""
    import datasets

    return dataset.select_columns([image]).cast_column(image, datasets.Image(decode=False))


def _chunks(encoded: Any, image: str) -> Iterator[tuple[int, list[Any]]]:
    """(number of the first row, cells) for every `_CHUNK` rows."""
    for number, batch in enumerate(encoded.iter(batch_size=_CHUNK)):
        yield number * _CHUNK, batch[image]


def _decode_chunk(start: int, cells: list[Any], *, split: str, size: Size) -> np.ndarray:
    """Decode rows of one split: uint8 (n, H, W) if all are grey, otherwise (n, H, W, 3)."""
    decoded = []
    for row, cell in enumerate(cells, start):
        pixels = _pixels(cell, f"{split} row {row}")
        height, width = pixels.shape[:2]
        if (height, width) != (size.height, size.width):
            raise ValueError(
                f"{split} row {row}{_file(cell)}: the image is {width} x {height} pixels, but {size.where} is "
                f"{size.width} x {size.height}. Every image must have one size: resize them all, to "
                f"{size.width} x {size.height} for instance; or let them be cropped while training goes on: "
                "`--image-size 224` (in Python image_size=224), or whatever size suits the net."
            )
        decoded.append(pixels)
    return np.stack(_same_channels(decoded))


def _same_channels(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Grey arrays (..., H, W) as colour (..., H, W, 3) if any of them is colour."""
    colour = max(array.ndim for array in arrays)
    return [array if array.ndim == colour else np.repeat(array[..., None], 3, axis=-1) for array in arrays]


def _pixels(cell: Any, where: str) -> np.ndarray:
    """One image, uint8: (H, W) if it is grey, otherwise RGB, (H, W, 3); transparency is dropped."""
    from skipway.data.images.pictures import content_of, opened, plain, reading

    content, where = content_of(cell, where)
    with reading(where):
        return np.asarray(plain(opened(content)))


def _file(cell: Any) -> str:
    """` (name of the file)` where an image has one."""
    return f" ({cell['path']})" if cell and cell["path"] else ""
