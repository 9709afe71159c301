"""Folders of images for tests of data: parquet as the Hub lays it out, and image files."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

CLASSES = ["cat", "dog"]


def png(value: int = 0, size: tuple[int, int] = (6, 5), mode: str = "L") -> bytes:
    """An encoded image, (width, height) in `size`, all of one value."""
    file = io.BytesIO()
    Image.new(mode, size, value if mode != "RGB" else (value, 0, 255)).save(file, "PNG")
    return file.getvalue()


def write_split(folder: Path, split: str, images: list, labels: list, classes: list[str] = CLASSES, **more) -> None:
    """One split as the Hub's parquet files hold it; `more` are further columns, (arrow array, feature)."""
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": classes}}
    cells = [None if image is None else {"bytes": image, "path": None} for image in images]
    storage = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {"image": pa.array(cells, storage), "label": pa.array(labels, pa.int64())}
    for name, (array, feature) in more.items():
        columns[name], features[name] = array, feature
    schema = pa.table(columns).schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), folder / f"{split}-00000-of-00001.parquet")


def first_rows(source: Path, folder: Path, rows: int) -> Path:
    """A smaller copy of a folder of parquet files: the first rows of each, a thousand at most."""
    folder.mkdir(parents=True)
    for file in source.glob("*.parquet"):
        with pq.ParquetFile(file) as whole:
            pq.write_table(whole.read_row_group(0).slice(0, rows), folder / file.name)
    return folder


def write_pair(folder: Path, images: list, labels: list, **more) -> Path:
    """A folder with these train rows and four sound test rows."""
    write_split(folder, "train", images, labels, **more)
    write_split(folder, "test", [png(value) for value in range(4)], [0, 1, 0, 1], **more)
    return folder


def image_files(root: Path, folders: list[str]) -> list[Path]:
    """Two image files in each of the folders."""
    files = [root / folder / f"{number}.png" for folder in folders for number in range(2)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(files.index(file)))
    return files


def write_digits(root: Path, counts: dict[str, int]) -> Path:
    """Scanned digits as JPEG files of many sizes, SPLIT/CLASS/FILE."""
    scans = load_digits()
    numbers = iter(range(len(scans.images)))
    for split, count in counts.items():
        for number in itertools.islice(numbers, count):
            file = root / split / f"digit {scans.target[number]}" / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray((scans.images[number] * 15.9).astype("uint8"))
            size = (90 + number % 40, 70 + number % 30 * 3)
            picture.resize(size, Image.Resampling.BICUBIC).convert("RGB").save(file)
    return root
