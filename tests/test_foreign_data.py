"""Data sets that a stranger made: the formats that are decoded; what is not opened, not waited for, not left out."""

from __future__ import annotations

import io
import json
import os
import zlib
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from image_folders import CLASSES, image_files, png, write_pair
from skipway.data.guard import check_paths
from skipway.data.images.decode import Size, _check_fits
from skipway.data.images.folder import find_files
from skipway.data.images.pictures import FORMATS, opened
from skipway.data.images.sources import load

LAYOUT = ["train/cat", "train/dog", "test/cat", "test/dog"]
WAYS = [{}, {"image_size": 4}]


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 5), (10, 20, 30)).save(file, kind)
    return file.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that says it has so many pixels."""
    content = png()
    head = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + content[24:29]
    return content[:12] + head + zlib.crc32(head).to_bytes(4, "big") + content[33:]


def write_paths(folder: Path, path: Path) -> Path:
    """A data set of which one row has a path in place of an image."""
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": CLASSES}}
    cells = [{"bytes": None, "path": str(path)}, *({"bytes": png(value), "path": None} for value in range(3))]
    storage = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array(cells, storage), "label": pa.array([0, 1, 0, 1])})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    folder.mkdir()
    for split in ("train", "test"):
        pq.write_table(table, folder / f"{split}.parquet")
    return folder


def decode_all(folder: Path, **way) -> None:
    data = load(folder, **way)
    for split in (data.train, data.validation, data.test):
        split.images.to("cpu")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_formats_of_data_sets_are_read(kind):
    assert opened(encoded(kind)).size == (6, 5)


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PCX", "TGA", "SGI", "JPEG2000"])
def test_no_other_format_reaches_its_reader(kind):
    with pytest.raises(OSError, match="cannot identify"):
        opened(encoded(kind))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_image_for_which_a_program_would_be_started_is_refused(way, tmp_path):
    folder = write_pair(tmp_path / "eps", [encoded("EPS"), png(), png(), png()], [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"row 0: .*no known format.* JPEG, PNG, GIF"):
        decode_all(folder, **way)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_image_larger_than_memory_is_refused_undecoded(way, tmp_path):
    images = [claiming(40_000, 40_000), *(png(),) * 3]
    with pytest.raises(ValueError, match=r"train row 0: the image has more than 178,956,970 pixels"):
        decode_all(write_pair(tmp_path / "bomb", images, [0, 1, 0, 1]), **way)


def test_images_that_are_larger_than_memory_together_are_refused_before_it_is_taken():
    _check_fits(Size(32, 32, "train row 0"), 60_000)
    with pytest.raises(ValueError, match=r"10,000,000 images of 4000 x 3000 pixels take 111,759 GiB.*--image-size 224"):
        _check_fits(Size(3000, 4000, "train row 0"), 10_000_000)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("inside", [False, True], ids=["elsewhere", "in the folder"])
def test_a_path_in_a_table_is_not_opened(way, inside, tmp_path):
    secret = tmp_path / ("pets/secret.dat" if inside else "secret.png")
    folder = write_paths(tmp_path / "pets", secret)
    secret.write_bytes(png(9))
    with pytest.raises(ValueError, match=r"train row 0: there is no image but the path '.*secret"):
        load(folder, **way)


def test_of_image_files_those_of_the_data_set_alone_are_opened(tmp_path):
    """As `datasets` found them, or as a table beside them names them: ../secret.png."""

    def rows(path: Path) -> dict[str, datasets.Dataset]:
        features = datasets.Features({"image": datasets.Image()})
        made = datasets.Dataset.from_dict({"image": [{"bytes": None, "path": str(path)}]}, features)
        made.info.builder_name = "imagefolder"
        return {"train": made}

    check_paths(rows(tmp_path / "pets/train/cat.png"), tmp_path / "copy", tmp_path / "pets")
    for path in (tmp_path / "pets/../secret.png", tmp_path / "pets-of-others/cat.png", Path("cat.png")):
        with pytest.raises(ValueError, match="train row 0: there is no image but the path"):
            check_paths(rows(path), tmp_path / "copy", tmp_path / "pets")


@pytest.mark.parametrize(
    "names", ["../other/train*", "https://localhost:9/train.parquet", "{other}/*", "a/../../other/*"]
)
def test_a_card_that_names_files_elsewhere_is_refused(names, tmp_path):
    other = write_pair(tmp_path / "other", [png()] * 4, [0, 1, 0, 1])
    folder = write_pair(tmp_path / "pets", [png()] * 4, [0, 1, 0, 1])
    files = [{"split": "train", "path": names.format(other=other)}, {"split": "test", "path": ["test*"]}]
    card = json.dumps({"configs": [{"config_name": "default", "data_files": files}]})
    (folder / "README.md").write_text(f"---\n{card}\n---\n")
    with pytest.raises(ValueError, match="its card"):
        load(folder)


def test_a_card_that_names_files_of_its_own_is_read(tmp_path):
    folder = write_pair(tmp_path / "pets", [png()] * 4, [0, 1, 0, 1])
    for file in folder.glob("*.parquet"):
        (folder / "data").mkdir(exist_ok=True)
        file.rename(folder / "data" / file.name)
    files = "[{split: train, path: data/train*}, {split: test, path: data/test*}]"
    (folder / "README.md").write_text(f"---\nconfigs:\n- {{config_name: default, data_files: {files}}}\n---\n# Pets")
    assert len(load(folder).test) == 4


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a link to nothing"])
def test_what_is_no_file_is_named_and_not_waited_for(kind, way, tmp_path):
    image_files(tmp_path, LAYOUT)
    place = tmp_path / "train/cat/9.png"
    os.mkfifo(place) if kind == "a pipe" else place.symlink_to("/dev/zero" if kind == "a device" else "/nowhere")
    with pytest.raises(ValueError, match=r"train/cat/9.png is called as a file is, and is none"):
        load(tmp_path, **way)


def test_links_to_images_are_images(tmp_path):
    """A part of a large data set is often a folder of links, and whoever names the folder made or chose it."""
    for file in image_files(tmp_path / "whole", LAYOUT):
        link = tmp_path / "part" / file.relative_to(tmp_path / "whole")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    (tmp_path / "classes").mkdir()
    for split in ("train", "test"):
        (tmp_path / "classes" / split).symlink_to(tmp_path / "whole" / split)
    whole = load(tmp_path / "whole")
    assert torch.equal(load(tmp_path / "part").test.images, whole.test.images)
    assert find_files(tmp_path / "classes")["train"].counts == find_files(tmp_path / "whole")["train"].counts == (2, 2)


@pytest.mark.parametrize("links", [{"cat/loop": "."}, {"cat/on": "../dog", "dog/back": "../cat"}], ids=str)
def test_a_folder_within_itself_is_refused(links, tmp_path):
    image_files(tmp_path, LAYOUT)
    for place, target in links.items():
        (tmp_path / "train" / place).symlink_to(target)
    with pytest.raises(ValueError, match="a link to a folder that it lies in"):
        find_files(tmp_path)


def test_a_class_that_would_be_left_out_is_named(tmp_path):
    image_files(tmp_path, [*LAYOUT, "train/a\nb"])
    with pytest.raises(ValueError, match="newline"):
        load(tmp_path)
    assert load(tmp_path, image_size=4).classes == ("a\nb", "cat", "dog")
