"""Files of a folder that are named by their splits: train.csv, test-00000-of-00002.parquet, valid.txt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from skipway.data.guard import visible
from skipway.data.splits import NAMES

_WORDS = {"train": "train", "validation": "validation|valid|val|dev", "test": "test"}


def split_files(folder: Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    """The files of each split, in order; splits that a folder has not are left out.

    Raises:
        ValueError: if none is for training.
    """
    files = [path for path in visible(folder) if path.suffix.lower() in endings]
    found = {name: [file for file in files if re.fullmatch(f"({_WORDS[name]})([-_.].*)?", file.stem)] for name in NAMES}
    if not found["train"]:
        first = endings[0]
        raise ValueError(
            f"{folder} holds no file for training that ends in {' or '.join(endings)}. Valid: a folder with "
            f"train{first}, and test{first} and validation{first} if there are such splits; or one file."
        )
    return {name: files for name, files in found.items() if files}
