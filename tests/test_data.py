"""Data: what sources give, what is refused and in which words, what the cache keeps, how pixels become inputs."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from image_folders import CLASSES, image_files, png, write_pair, write_split
from skipway.data.dataset import evenly
from skipway.data.holdout import hold_out, hold_out_exactly
from skipway.data.images import cache
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.sources import load, read_digits
from skipway.data.samples import Samples


def in_new_process(code: str, *arguments: object, **environment: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- sources ---------------------------------------------------------------------------------------------------------


def test_digits_are_the_same_everywhere():
    data = load("digits")
    assert (len(data.train), len(data.validation), len(data.test)) == (1257, 180, 360)
    assert data.shape == (1, 8, 8)
    assert data.scale == 16
    assert data.classes == tuple("0123456789")
    assert data.validation_rule == "given by the source"
    # Runs are named by this: a change of split, order or content would make every digits run a new one.
    assert data.fingerprint == "791daf6bbf1d3902dcd5b88d239c9f8c9fd7a6365b9373c33e4c1ca21026adb8"


def test_digits_splits_are_a_stratified_partition():
    from sklearn.datasets import load_digits

    data, whole = load("digits"), load_digits()
    parts = torch.cat([split.images for split in (data.train, data.validation, data.test)]).flatten(1)
    labels = torch.cat([split.labels for split in (data.train, data.validation, data.test)])
    rows = sorted((*image, label) for image, label in zip(parts.tolist(), labels.tolist(), strict=True))
    given = sorted((*map(int, image), int(label)) for image, label in zip(whole.data, whole.target, strict=True))
    assert rows == given
    counts = torch.bincount(labels)
    for split in (data.train, data.validation, data.test):
        expected = counts * len(split) / len(labels)
        assert ((torch.bincount(split.labels) - expected).abs() < 2).all()


def test_digits_ignore_the_validation_share():
    assert torch.equal(load("digits", validation=0.5, split_seed=3).train.labels, load("digits").train.labels)


def test_mnist_is_mnist(shared):
    data = load(shared / "data" / "mnist")
    assert data.name == "mnist"
    assert data.shape == (1, 28, 28)
    assert (len(data.train) + len(data.validation), len(data.test)) == (60_000, 10_000)
    train = torch.cat([data.train.labels, data.validation.labels])
    assert torch.bincount(train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    pixels = torch.cat([data.train.images, data.validation.images]) / 255.0
    assert pixels.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert pixels.std().item() == pytest.approx(0.3081, abs=1e-4)
    fitted = Preprocess.fit(data, "channel")
    assert fitted.mean.item() == pytest.approx(0.1307, abs=1e-3)
    assert fitted.std.item() == pytest.approx(0.3081, abs=1e-3)


@pytest.mark.slow
def test_cifar10_is_cifar10_and_opens_quickly_again(shared):
    data = load(shared / "data" / "cifar10")
    assert data.shape == (3, 32, 32)
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert torch.bincount(data.train.labels).tolist() == [4500] * 10
    assert torch.bincount(data.validation.labels).tolist() == [500] * 10
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10
    pixels = torch.cat([data.train.images, data.validation.images]).transpose(0, 1).flatten(1) / 255.0
    torch.testing.assert_close(pixels.mean(1), torch.tensor([0.4914, 0.4822, 0.4465]), atol=1e-4, rtol=0)
    torch.testing.assert_close(pixels.std(1), torch.tensor([0.2470, 0.2435, 0.2616]), atol=1e-4, rtol=0)
    taken = []
    for _ in range(3):
        start = time.process_time()  # what else the machine does is not under test
        again = load(shared / "data" / "cifar10")
        taken.append(time.process_time() - start)
    assert min(taken) < 0.5
    assert torch.equal(again.test.images, data.test.images)


def test_parquet_is_decoded_exactly(tmp_path):
    folder = write_pair(tmp_path / "pets", [png(value) for value in range(10)], [0, 1] * 5)
    data = load(folder, validation=0.2)
    assert data.name == "pets"
    assert data.classes == ("cat", "dog")
    assert data.shape == (1, 5, 6)
    assert data.train.images.dtype == torch.uint8
    values = torch.cat([data.train.images, data.validation.images])[:, 0, 0, 0]
    labels = torch.cat([data.train.labels, data.validation.labels])
    assert sorted(values.tolist()) == list(range(10))
    assert torch.equal(values % 2, labels)
    assert torch.bincount(data.validation.labels).tolist() == [1, 1]
    assert data.validation_rule == "0.2 of train, stratified, seed 0"


def test_a_folder_of_image_files(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                file = tmp_path / "pets" / split / name / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(png(10 * label + number))
    data = load(tmp_path / "pets")
    assert data.classes == ("cat", "dog")
    assert data.test.images[:, 0, 0, 0].tolist() == [0, 1, 10, 11]
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    (tmp_path / "pets" / "train" / "dog" / "1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train row 5 \(.*dog/1\.png\): the image is empty"):
        load(tmp_path / "pets")


@pytest.mark.parametrize("length", [4, 20, 35, 45])
def test_a_broken_image_files_message_has_no_address_in_memory(tmp_path, length):
    files = image_files(tmp_path / "pets", ["train/cat", "train/dog", "test/cat", "test/dog"])
    files[3].write_bytes(png()[:length])
    with pytest.raises(ValueError, match=r"train row 3 \(.*train/dog/1\.png\): the image cannot be read") as caught:
        load(tmp_path / "pets")
    assert " object at " not in str(caught.value)


def test_image_files_of_one_class_are_told_so(tmp_path):
    image_files(tmp_path / "all", ["train/cat", "test/cat"])
    with pytest.raises(
        ValueError, match=r"every train row is of one class, 'cat'; .* two classes or more. Image files"
    ):
        load(tmp_path / "all")
    image_files(tmp_path / "some", ["train/cat", "test/cat", "test/dog"])
    with pytest.raises(ValueError, match=r"no row of the train split has a label; .*train/CLASS/FILE with two classes"):
        load(tmp_path / "some")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_colour_becomes_three_channels(tmp_path, mode):
    file = io.BytesIO()
    Image.new("RGB", (6, 5), (200, 30, 90)).convert(mode).save(file, "TIFF")
    expected = Image.open(io.BytesIO(file.getvalue())).convert("RGB").getpixel((3, 2))
    data = load(write_pair(tmp_path, [file.getvalue()] * 4, [0, 1, 0, 1]))
    assert data.shape == (3, 5, 6)
    assert tuple(data.train.images[0, :, 2, 3].tolist()) == expected


def test_grey_among_colour_becomes_colour(tmp_path):
    data = load(write_pair(tmp_path, [png(7), png(7), png(9, mode="RGB"), png(9, mode="RGB")], [0, 1, 0, 1]))
    assert data.shape == (3, 5, 6)
    both = torch.cat([data.train.images, data.validation.images])[:, :, 0, 0].tolist()
    assert sorted(both) == [[7, 7, 7], [7, 7, 7], [9, 0, 255], [9, 0, 255]]
    assert data.test.images[2, :, 0, 0].tolist() == [2, 2, 2]


def test_large_images_are_decoded_by_threads_in_order(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 64, 64), dtype=np.uint8)
    images = []
    for array in noise:
        file = io.BytesIO()
        Image.fromarray(array).save(file, "PNG")
        images.append(file.getvalue())
    write_split(tmp_path, "train", images[:300], [0, 1] * 150)
    write_split(tmp_path, "test", images[300:], [0, 1] * 150)
    assert np.array_equal(load(tmp_path).test.images[:, 0].numpy(), noise[300:])


# --- refusals --------------------------------------------------------------------------------------------------------

SOUND = [png(value) for value in range(6)]
LABELS = [0, 1, 0, 1, 0, 1]


def with_row(row: int, image: bytes | None) -> list[bytes | None]:
    return [image if number == row else sound for number, sound in enumerate(SOUND)]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", r"train row 3: the image is empty \(0 bytes\)"),
        (None, "train row 3: there is no image"),
        (
            b"not an image",
            "train row 3: the image cannot be read: its bytes are damaged or of no known format. Every row needs",
        ),
        (png(1, (40, 40))[:-30], "train row 3: the image cannot be read"),
        (png(1, (7, 5)), "train row 3: the image is 7 x 5 pixels, but train row 0 is 6 x 5. Every image must have one"),
        (
            png(1000, mode="I;16"),
            "train row 3: the image cannot be read: its pixels are of mode I;16; the rule is 8 bits",
        ),
    ],
)
def test_a_bad_image_is_named(tmp_path, image, message):
    with pytest.raises(ValueError, match=message):
        load(write_pair(tmp_path, with_row(3, image), LABELS))


def test_the_first_of_several_bad_rows_is_named(tmp_path):
    images = [png(1)] * 1000
    images[700] = images[300] = b""
    with pytest.raises(ValueError, match="train row 300:"):
        load(write_pair(tmp_path, images, [0, 1] * 500))


def test_a_bad_test_row_is_named(tmp_path):
    write_split(tmp_path, "train", SOUND, LABELS)
    write_split(tmp_path, "test", [png(0), png(0, (9, 9))], [0, 1])
    with pytest.raises(ValueError, match="test row 1: the image is 9 x 9 pixels, but train row 0 is 6 x 5"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 0, None, 0, 1], r"train row 3: the label is missing \(None\). Every row needs one, 0 to 1"),
        ([0, 1, 0, -1, 0, 1], r"train row 3: the label is missing \(-1\)"),
        ([0, 1, 0, 7, 0, 1], "train row 3: the label is 7, but 2 classes have the labels 0 to 1"),
        ([0, 0, 0, 0, 0, 0], "every train row is of one class, 'cat'"),
        ([0, 0, 0, 1, 0, 0], "train row 3 is the only one of class 'dog'; a class needs at least 2"),
    ],
)
def test_bad_labels_are_named(tmp_path, labels, message):
    with pytest.raises(ValueError, match=message):
        load(write_pair(tmp_path, SOUND, labels))


def test_a_tested_class_must_be_trained(tmp_path):
    three = ["cat", "dog", "owl"]
    write_split(tmp_path, "train", SOUND, LABELS, classes=three)
    write_split(tmp_path, "test", SOUND[:3], [0, 1, 2], classes=three)
    with pytest.raises(ValueError, match="test row 2: class 'owl' is not in the train split"):
        load(tmp_path)


def test_missing_splits_are_listed(tmp_path):
    write_split(tmp_path / "a", "train", SOUND, LABELS)
    with pytest.raises(ValueError, match=r"there is no test split; found: train. The rule"):
        load(tmp_path / "a")
    write_split(tmp_path / "b", "test", SOUND, LABELS)
    with pytest.raises(ValueError, match=r"there is no train split; found: test. The rule"):
        load(tmp_path / "b")


def test_validation_serves_as_test_where_there_is_none(tmp_path):
    write_split(tmp_path, "train", SOUND, LABELS)
    write_split(tmp_path, "validation", [png(77)] * 2, [0, 1])
    data = load(tmp_path)
    assert data.test.images.unique().tolist() == [77]
    assert (len(data.train), len(data.validation)) == (4, 2)
    assert data.validation_rule.startswith("0.1 of train")


def test_a_given_validation_split_is_kept(tmp_path):
    write_split(write_pair(tmp_path, SOUND, LABELS), "validation", [png(77)] * 2, [0, 1])
    data = load(tmp_path)
    assert data.validation.images.unique().tolist() == [77]
    assert len(data.train) == 6
    assert data.validation_rule == "given by the source"


def test_columns_must_be_plain(tmp_path):
    (tmp_path / "none").mkdir()
    for split in ("train", "test"):
        pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "none" / f"{split}.parquet")
    with pytest.raises(ValueError, match=r"no Image column; columns: a \(int64\)"):
        load(tmp_path / "none")


def test_one_of_several_label_columns_is_chosen(tmp_path):
    coarse = (pa.array([0, 0, 1, 1, 2, 2]), {"_type": "ClassLabel", "names": ["fish", "bird", "tree"]})
    for split in ("train", "test"):
        write_split(tmp_path / "two", split, SOUND, LABELS, coarse=coarse)
    with pytest.raises(
        ValueError,
        match=r"2 ClassLabel columns; columns: image \(Image\), label \(ClassLabel\), coarse .*"
        r"writing ':label=label' or ':label=coarse' behind",
    ):
        load(tmp_path / "two")
    data = load(f"{tmp_path / 'two'}:label=coarse")
    assert (data.name, data.classes) == ("two:label=coarse", ("fish", "bird", "tree"))
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    data = load(f"{tmp_path / 'two'}:label=label")  # the two do not stand in each other's place in the cache
    assert (data.name, data.classes) == ("two:label=label", ("cat", "dog"))
    assert load(f"{tmp_path / 'two'}:label=coarse").num_classes == 3
    with pytest.raises(ValueError, match=r"':label=image' names no ClassLabel column; .*Valid: ':label=label' or"):
        load(f"{tmp_path / 'two'}:label=image")


def test_cifar100_is_its_hundred_classes_unless_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path))
    for column in ("fine_label", "coarse_label"):  # digits stand for what the Hub would have given
        asked, given = f"uoft-cs/cifar100:label={column}", read_digits()
        given = dataclasses.replace(given, fingerprint=column)
        cache.recall(cache.Key(asked, f"hub {asked}", "a commit"), lambda given=given: given)
    for asked in ("cifar100", "cifar100:label=fine_label", "uoft-cs/cifar100:label=fine_label"):
        assert (load(asked).name, load(asked).fingerprint) == (asked, "fine_label")
    assert load("cifar100:label=coarse_label").fingerprint == "coarse_label"


def test_an_unreadable_folder_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty cannot be read as a data set.*Valid: parquet"):
        load(tmp_path / "empty")


def test_unknown_names_list_the_ways(tmp_path):
    with pytest.raises(ValueError, match=r"Did you mean 'digits'.*a folder of parquet.*'uoft-cs/cifar10'"):
        load("digit")
    for missing in (tmp_path / "nowhere", str(tmp_path / "nowhere"), "./nowhere", "../no/where"):
        with pytest.raises(ValueError, match=r"there is no folder .*Valid: 'digits'"):
            load(missing)


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5])
def test_the_validation_share_is_a_share(share):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        load("digits", validation=share)


def test_an_unreachable_hub_is_said_at_once():
    code = """
from skipway.data.images.sources import load
for name in ("mnist", "owner/name:plain"):
    try: load(name)
    except OSError as error: print(error)
"""
    start = time.perf_counter()
    # A closed port of this machine stands for a network that does not answer.
    said = in_new_process(code, HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")
    assert time.perf_counter() - start < 60  # nobody retries for minutes
    first, second = said.splitlines()
    assert "'ylecun/mnist'" in first
    assert "'owner/name:plain'" in second
    assert all("'digits' and a local folder of parquet or image files work offline" in line for line in (first, second))


def test_an_unreachable_hub_leaves_what_was_decoded(tmp_path, monkeypatch):
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path))
    given = read_digits()
    cache.recall(cache.Key("ylecun/mnist", "hub ylecun/mnist", "a commit"), lambda: given)
    data = load("mnist")  # the tests' setting HF_HUB_OFFLINE keeps the Hub out of reach
    assert (data.name, data.fingerprint) == ("mnist", given.fingerprint)


# --- splits ----------------------------------------------------------------------------------------------------------


def test_hold_out_is_stratified_and_seeded():
    labels = torch.tensor([0] * 50 + [1] * 27 + [3] * 2)[torch.randperm(79, generator=torch.Generator().manual_seed(1))]
    before = torch.get_rng_state()
    kept, held = hold_out(labels, 0.1, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(79))
    assert torch.equal(kept, kept.sort().values)
    assert torch.equal(held, held.sort().values)
    assert torch.bincount(labels[held]).tolist() == [5, 3, 0, 1]
    assert torch.equal(held, hold_out(labels, 0.1, seed=5)[1])
    assert not torch.equal(held, hold_out(labels, 0.1, seed=6)[1])


def test_hold_out_keeps_one_of_each_class():
    kept, _ = hold_out(torch.tensor([0, 0, 1, 1, 1]), 0.95, seed=0)
    assert torch.bincount(torch.tensor([0, 0, 1, 1, 1])[kept]).tolist() == [1, 1]
    with pytest.raises(ValueError, match="class 1 has one sample"):
        hold_out(torch.tensor([0, 0, 1]), 0.5, seed=0)


def test_hold_out_exactly_hits_the_total():
    labels = torch.tensor([0] * 5 + [1] * 5 + [2] * 4)
    for total in range(15):
        kept, held = hold_out_exactly(labels, total, seed=0)
        assert (len(kept), len(held)) == (14 - total, total)
        share = torch.bincount(labels[held], minlength=3) - torch.tensor([5, 5, 4]) * total / 14
        assert share.abs().max() < 1


def test_the_fingerprint_is_of_the_content(tmp_path):
    def of(name: str, images: list = SOUND, labels: list = LABELS, **more) -> str:
        return load(write_pair(tmp_path / name, images, labels, **more)).fingerprint

    first = of("a")
    assert len(first) == 64
    assert of("elsewhere") == first
    assert load(tmp_path / "a", split_seed=9).fingerprint == first
    assert of("pixel", with_row(3, png(99))) != first
    assert of("labels", labels=[1, 0, 0, 1, 0, 1]) != first
    assert of("names", classes=["cat", "cow"]) != first


# --- cache -----------------------------------------------------------------------------------------------------------

OPEN_AGAIN = """
import sys
from skipway.data.images.sources import load
data = load(sys.argv[1])
print(data.fingerprint, sorted({"datasets", "sklearn", "PIL", "pyarrow"} & set(sys.modules)))
"""


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("SKIPWAY_CACHE", str(folder))
    return folder


def test_a_second_load_imports_no_decoder(tmp_path, own_cache):
    folder = write_pair(tmp_path / "pets", SOUND, LABELS)
    for source in ("digits", folder):
        first = load(source).fingerprint
        assert in_new_process(OPEN_AGAIN, source).split(maxsplit=1) == [first, "[]\n"]


def test_the_cache_follows_the_folder(tmp_path, own_cache):
    folder = write_pair(tmp_path / "pets", SOUND, LABELS)
    old = load(folder).fingerprint
    write_split(folder, "test", [png(200)] * 2, [0, 1])
    assert load(folder).fingerprint != old
    assert len(list(own_cache.glob("*.safetensors"))) == 1  # the state that was is not kept


@pytest.mark.parametrize("damage", ["cut short", "overwritten", "older format", "a bit", "a class's name", "a shape"])
def test_a_cache_file_that_cannot_be_used_is_made_again(own_cache, monkeypatch, damage):
    before = load("digits")
    (file,) = own_cache.glob("*.safetensors")
    content = file.read_bytes()
    if damage == "cut short":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "overwritten":
        file.write_bytes(b"\xff" * 1000)
    elif damage == "a bit":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 16]))
    else:
        old, new = {
            "older format": (b'"format":"2"', b'"format":"1"'),
            "a class's name": (rb"\"7\"", rb"\"8\""),
            "a shape": (b"[360,1,8,8]", b"[360,8,8,1]"),
        }[damage]
        file.write_bytes(content.replace(old, new))
        assert file.read_bytes() != content
    assert cache.read(file) is None
    assert load("digits").fingerprint == before.fingerprint
    assert cache.read(file).fingerprint == before.fingerprint


def test_tensors_are_mapped_and_private(own_cache):
    first = load("digits")
    (file,) = own_cache.glob("*.safetensors")
    content = file.read_bytes()
    first.train.images.fill_(0)
    assert file.read_bytes() == content
    assert load("digits").train.images.any()


def test_two_processes_at_once_decode_once(tmp_path, own_cache):
    folder = write_pair(tmp_path / "pets", [png(1)] * 2000, [0, 1] * 1000)
    command = [sys.executable, "-c", OPEN_AGAIN, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].split(maxsplit=1) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0][0] == said[1][0]
    assert sorted(modules == "[]\n" for _, modules in said) == [False, True]
    assert [file.suffix for file in own_cache.iterdir() if file.name.startswith(".")] == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"cannot be written. Set SKIPWAY_CACHE"):
        load("digits")


# --- preprocessing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pixel", "channel"])
def test_preprocessing_centres_the_training_images(kind):
    data = load("digits")
    prepared = Preprocess.fit(data, kind)
    x = data.train.images.double() / 16
    expected = x - x.mean(0) if kind == "pixel" else (x - x.mean()) / x.std(correction=0)
    got = prepared(data.train.images)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        prepared(data.test.images.unflatten(0, (6, 60))).flatten(0, 1), prepared(data.test.images)
    )


def test_preprocessing_reads_the_training_split_alone(tmp_path):
    write_split(tmp_path, "train", [png(51)] * 6, LABELS)
    write_split(tmp_path, "test", [png(255)] * 2, [0, 1])
    prepared = Preprocess.fit(load(tmp_path), "pixel")
    torch.testing.assert_close(prepared.mean, torch.full((1, 5, 6), 0.2))


def test_a_constant_channel_stays_finite(tmp_path):
    prepared = Preprocess.fit(load(write_pair(tmp_path, [png(51)] * 6, LABELS)), "channel")
    assert prepared.std.tolist() == [1.0]
    assert prepared(torch.full((1, 1, 5, 6), 51, dtype=torch.uint8)).abs().max() < 1e-6


def test_scale_divides_by_the_number_of_values():
    prepared = Preprocess.fit(load("digits"), "scale")
    images = load("digits").test.images
    torch.testing.assert_close(prepared(images), images / 17)


def test_scale_divides_bytes_by_256_exactly(tmp_path):
    prepared = Preprocess.fit(load(write_pair(tmp_path, SOUND, LABELS)), "scale")
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(prepared(every), every / 256)


def test_contrast_is_of_each_image_and_then_centred():
    data = load("digits")
    prepared = Preprocess.fit(data, "contrast")

    def by_hand(images: torch.Tensor) -> torch.Tensor:
        x = images.double().flatten(1)
        x = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
        return x.view_as(images)

    mean = by_hand(data.train.images).mean(0)
    torch.testing.assert_close(prepared.mean.double(), mean, atol=1e-6, rtol=0)
    expected = by_hand(data.test.images) - mean
    torch.testing.assert_close(prepared(data.test.images).double(), expected, atol=2e-6, rtol=0)
    assert prepared(data.train.images).mean(0).abs().max() < 1e-6


def test_contrast_treats_an_image_alike_in_every_batch(shared):
    data = load(shared / "data" / "mnist")
    prepared, images = Preprocess.fit(data, "contrast"), data.test.images[:600]
    whole = prepared(images)
    assert torch.equal(prepared(images.unflatten(0, (20, 30))).flatten(0, 1), whole)
    for size in (1, 7):
        assert torch.equal(torch.cat([prepared(part) for part in images.split(size)]), whole)
    assert torch.equal(prepared(images[5]), whole[5])


@pytest.mark.parametrize(("side", "value"), [(32, 0), (32, 255), (600, 255), (600, 77)])
def test_an_image_without_contrast_becomes_zero(side, value):
    plain = Preprocess("contrast", 1.0, torch.zeros(3, side, side), torch.ones(3))
    constant = torch.full((2, 3, side, side), value, dtype=torch.uint8)
    assert plain(constant).abs().max() < 1e-3
    constant[1, :, : side // 2] = 100  # two values in equal parts: one deviation away from the mean, either way
    assert plain(constant)[1].abs().sub(1).abs().max() < 1e-5
    one = constant[:1].clone()
    one[0, 0, 0, 0] ^= 1  # the least contrast that there is, and the most that it is divided up to
    assert plain(one).abs().max() == pytest.approx((3 * side * side) ** 0.5, rel=1e-2)


@pytest.mark.parametrize("kind", ["pixel", "channel", "scale", "contrast"])
def test_preprocessing_survives_json_exactly(kind):
    prepared = Preprocess.fit(load("digits"), kind)
    again = Preprocess.from_dict(json.loads(json.dumps(prepared.to_dict())))
    assert (again.kind, again.scale) == (kind, prepared.scale)
    assert torch.equal(again(load("digits").test.images), prepared(load("digits").test.images))
    assert torch.equal(again.mean, prepared.mean)
    assert torch.equal(again.std, prepared.std)


def test_unknown_preprocessing_lists_the_valid():
    with pytest.raises(
        ValueError, match=r"unknown preprocessing 'pixels'. Did you mean 'pixel'\? Valid: channel, contr"
    ):
        Preprocess.fit(load("digits"), "pixels")
    with pytest.raises(ValueError, match=r"unknown preprocessing 'zca'"):
        Preprocess.from_dict({"kind": "zca", "scale": 16.0, "mean": [0.0], "std": [1.0]})


def test_what_older_versions_wrote_is_read():
    images = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4)
    channel = Preprocess.from_dict(
        {"kind": "channel", "scale": 255.0, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}
    )
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(channel(images), (images / 255 - mean) / std)
    mean = torch.linspace(0, 1, 48).view(3, 4, 4)
    pixel = Preprocess.from_dict({"kind": "pixel", "scale": 255.0, "mean": mean.tolist(), "std": [1.0, 1.0, 1.0]})
    torch.testing.assert_close(pixel(images), images / 255 - mean)


# -- a part that stands for the whole ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "most"), [(1000, 7), (1000, 256), (500, 499), (3, 2)])
def test_a_part_of_a_split_is_spread_over_all_of_it(count, most):
    """Files are often sorted by class: the first ones would be of one class alone."""
    part = evenly(Samples(torch.arange(count), torch.arange(count)), most).targets
    assert len(part) == most
    assert (int(part[0]), int(part[-1])) == (0, count - 1)
    gaps = part.diff()
    assert int(gaps.min()) >= 1, "none comes twice"
    step = (count - 1) / (most - 1)
    assert {*gaps.tolist()} <= {math.floor(step), math.ceil(step)}
    again = evenly(Samples(torch.arange(count), torch.arange(count)), most).targets
    assert torch.equal(again, part), "the same ones for every net"


@pytest.mark.parametrize("most", [10, 11])
def test_a_split_that_is_small_enough_is_taken_whole(most):
    split = Samples(torch.arange(10), torch.arange(10))
    assert evenly(split, most) is split
