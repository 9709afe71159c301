"""What a stranger's data set may not do: have files read that are not its own, or stop whoever reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
"""Of the names of image files."""
_TABLE_ENDINGS = (".parquet", ".arrow", ".csv", ".json", ".jsonl", ".zip", ".tar")


def check_folder(folder: Path) -> None:
    """Refuse a folder of which `datasets` would leave out a file without a word, or for which it would read elsewhere.

    Raises:
        ValueError: if what is called as data is called is no file; if a name holds a newline, since such files are not
            found; if the data set's card names files that are not below the folder.
    """
    for path in visible(folder):
        if path.name.lower().endswith((*IMAGE_ENDINGS, *_TABLE_ENDINGS)):
            check_regular(path)
            if "\n" in str(path.relative_to(folder)):
                raise ValueError(f"{str(path)!r}: a name with a newline in it is not found again; rename it.")
    for name in _named_by_card(folder):
        if "://" in name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(
                f"{folder}: its card (README.md) names the data files {name!r}, which are not in the folder. A local "
                "data set is read from its own folder alone: put the files there, or delete that line."
            )


def check_regular(path: Path) -> None:
    """Refuse what is neither a file nor a folder, nor leads to one: to read a pipe or a device may take for ever.

    Raises:
        ValueError: if it is such.
    """
    if not path.is_file() and not path.is_dir():
        raise ValueError(
            f"{path} is called as a file is, and is none: it is a pipe, a device, or a link that leads nowhere. "
            "Take it away, or rename it."
        )


def check_paths(dataset: Mapping[str, Any], *own: str | os.PathLike[str]) -> None:
    """Refuse rows that hold a path in place of an image, but for the paths of image files that `datasets` found.

    Args:
        dataset: a `datasets.DatasetDict`.
        own: the folders that the data set's files lie in.

    Raises:
        ValueError: if a row's path leads elsewhere; the message names the row.
    """
    for split, rows in dataset.items():
        # A table that somebody wrote may name any file of this machine; image files have the paths they were found by.
        places = [Path(os.path.abspath(place)) for place in own] if rows.info.builder_name == "imagefolder" else []  # noqa: PTH100
        for row, path in _paths_without_bytes(rows):
            if not any(Path(os.path.abspath(path)).is_relative_to(place) for place in places):  # noqa: PTH100
                raise ValueError(
                    f"{split} row {row}: there is no image but the path {path!r}, which is no file of this data set "
                    "and is not opened. Every row needs the bytes of its image."
                )


def visible(folder: Path) -> Iterator[Path]:
    """All below a folder, in order; hidden files and what is in hidden folders are not data."""
    for path in sorted(folder.rglob("*")):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _paths_without_bytes(rows: Any) -> Iterator[tuple[int, str]]:
    import datasets
    import pyarrow.compute as compute

    for column, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            cells = rows.data.column(column)
            content, paths = compute.struct_field(cells, "bytes"), compute.struct_field(cells, "path")
            alone = compute.indices_nonzero(compute.and_(compute.is_null(content), compute.is_valid(paths)))
            yield from zip(alone.to_pylist(), compute.take(paths, alone).to_pylist(), strict=True)


def _named_by_card(folder: Path) -> Iterator[str]:
    """Where the data set's card says that its files lie; `datasets` reads it in two places."""
    from huggingface_hub import DatasetCard

    for name, fence in (("README.md", ""), (".huggingface.yaml", "---\n")):
        try:
            configs = DatasetCard(fence + (folder / name).read_text() + "\n" + fence).data.get("configs")
        except Exception:  # there is none, or `datasets` will say what is wrong with it
            continue
        for config in configs or ():
            yield from _texts([config.get("data_files"), config.get("data_dir")])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
