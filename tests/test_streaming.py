"""Streaming: images that stay encoded are the same batches with any number of workers, and none stays behind."""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from sklearn.datasets import load_digits
from torch import Tensor

from image_folders import png, write_digits, write_pair
from skipway.data.images.augment import make_augmentations
from skipway.data.images.batches import BatchStream, batches
from skipway.data.images.crops import cut, middle_box, random_box
from skipway.data.images.dataset import Images
from skipway.data.images.folder import Names, find_files
from skipway.data.images.labelled import Split
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.sources import load
from skipway.data.part import Part

SIZE = 40
AUGMENT = make_augmentations(["flip", "cutout:size=5"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_digits(tmp_path_factory.mktemp("streaming") / "digits", {"train": 120, "test": 31})


@pytest.fixture(scope="module")
def data(folder) -> Images:
    return load(folder, image_size=SIZE)


@pytest.fixture(scope="module")
def prepared(data) -> Preprocess:
    return Preprocess.fit(data)


@pytest.fixture(autouse=True)
def children():
    """Tells the processes that this test began and that still run; at its end there is none.

    Idle workers of a study in another file are not its own: which files share a process is the runner's choice.
    """
    before = multiprocessing.active_children()

    def running() -> list:
        return [child for child in multiprocessing.active_children() if child not in before]

    yield running
    assert running() == []


def drawn(stream: BatchStream, count: int) -> list[tuple[Tensor, Tensor]]:
    return list(itertools.islice(stream, count))


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    pairs = zip(itertools.chain(*one), itertools.chain(*other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# --- what a folder is ------------------------------------------------------------------------------------------------


def test_a_folder_is_found_and_not_decoded(data):
    assert data.shape == (3, SIZE, SIZE)
    assert data.classes == tuple(f"digit {digit}" for digit in range(10))
    assert (len(data.train) + len(data.validation), len(data.test)) == (120, 31)
    assert data.validation_rule == "0.1 of train, stratified, seed 0"
    truth = load_digits().target
    for split in (data.train, data.validation, data.test):
        for row, label in zip(split.images.rows, split.labels, strict=True):
            _, path = split.images.store.read(int(row))
            assert truth[int(Path(path).stem)] == label
    both = torch.cat([data.train.images.rows, data.validation.images.rows])
    assert torch.equal(both.sort().values, torch.arange(120))


@pytest.mark.parametrize(
    ("found", "serves", "sizes"),
    [
        (["train", "val"], "0.1 of train, stratified, seed 0", (90, 10, 30)),
        (["train", "valid", "test"], "given by the source", (100, 30, 30)),
        (["Train", "validation"], "0.1 of train, stratified, seed 0", (90, 10, 30)),
    ],
)
def test_splits_are_called_as_people_call_them(tmp_path, found, serves, sizes):
    data = load(write_digits(tmp_path, dict(zip(found, (100, 30, 30), strict=False))), image_size=SIZE)
    assert data.validation_rule == serves
    assert (len(data.train), len(data.validation), len(data.test)) == sizes


def test_what_is_no_image_is_let_lie(tmp_path, folder):
    write_digits(tmp_path, {"train": 120, "test": 31})
    for name in ("train/digit 1/.DS_Store", "train/.hidden/1.jpg", "train/digit 1/notes.txt", "test/digit 1/._1.jpg"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"no image")
    (tmp_path / "train" / "empty").mkdir()
    (tmp_path / "val").mkdir()  # ImageNet's test images have no folders of classes; such a split is none
    (tmp_path / "val" / "1.jpg").write_bytes(b"no class")
    assert load(tmp_path, image_size=SIZE).fingerprint == load(folder, image_size=SIZE).fingerprint


def test_folders_in_a_classs_folder_belong_to_it(tmp_path):
    write_digits(tmp_path, {"train": 120, "test": 31})
    inner = tmp_path / "train" / "digit 3" / "more"
    inner.mkdir()
    for file in sorted((tmp_path / "train" / "digit 3").glob("*.jpg"))[:4]:
        file.rename(inner / file.name)
    data = load(tmp_path, image_size=SIZE)
    assert data.num_classes == 10
    assert len(data.train) + len(data.validation) == 120


def test_the_fingerprint_is_of_names_sizes_and_labels(tmp_path, folder):
    def of(name: str, change=lambda root: None, size: int = SIZE) -> str:
        change(write_digits(tmp_path / name, {"train": 120, "test": 31}))
        return load(tmp_path / name, image_size=size).fingerprint

    def longer(root: Path) -> None:
        file = next((root / "test" / "digit 0").iterdir())
        file.write_bytes(file.read_bytes() + b"\0")

    def moved(root: Path) -> None:
        file = sorted((root / "train" / "digit 0").iterdir())[0]
        file.rename(root / "train" / "digit 1" / file.name)

    def renamed(root: Path) -> None:
        file = sorted((root / "train" / "digit 0").iterdir())[0]
        file.rename(file.with_name("other.jpg"))

    known = load(folder, image_size=SIZE).fingerprint
    assert of("elsewhere") == known
    assert load(folder, image_size=SIZE, split_seed=7).fingerprint == known
    others = [of("longer", longer), of("moved", moved), of("renamed", renamed), of("size", size=SIZE + 1)]
    assert len({known, *others}) == 5


@pytest.mark.parametrize("name", ["plain.jpg", "Grüße 图.png", "sur\udcffrogate.jpg", "a" * 200 + ".gif"])
def test_names_are_kept_whatever_they_are(name):
    names = Names(["first", name, "last"])
    assert (len(names), names[1], names[2]) == (3, name, "last")


def test_a_class_that_is_tested_must_be_trained(tmp_path):
    write_digits(tmp_path, {"train": 120, "test": 31})
    (tmp_path / "test" / "digit 3").rename(tmp_path / "test" / "owl")
    with pytest.raises(ValueError, match="test row .*: class 'owl' is not in the train split"):
        load(tmp_path, image_size=SIZE)


def test_two_folders_for_one_split_are_refused(tmp_path):
    write_digits(tmp_path, {"train": 50, "val": 20, "valid": 20})
    with pytest.raises(ValueError, match=r"val and .*valid are both the validation split"):
        load(tmp_path, image_size=SIZE)


def test_a_missing_split_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"there is no test split; found: train"):
        load(write_digits(tmp_path, {"train": 50}), image_size=SIZE)


def test_images_of_different_sizes_are_shown_the_way_out(folder):
    with pytest.raises(ValueError, match=r"Every image must have one size.*--image-size 224.* image_size=224"):
        load(folder)


@pytest.mark.parametrize("size", [0, -3])
def test_an_image_size_is_a_number_of_pixels(folder, size):
    with pytest.raises(ValueError, match=f"image_size={size}: it is a number of pixels, 1 or more"):
        load(folder, image_size=size)


def test_digits_have_their_size():
    with pytest.raises(ValueError, match=r"image_size=224 is for image files and rows; 'digits' are 8 x 8"):
        load("digits", image_size=224)


def test_rows_of_parquet_are_streamed_too(tmp_path):
    images = [png(10 * value, size=(20 + value, 30)) for value in range(8)]
    data = load(write_pair(tmp_path / "pets", images, [0, 1] * 4), image_size=16)
    assert (data.shape, data.classes) == ((3, 16, 16), ("cat", "dog"))
    assert data.test.images.to("cpu")[:, 0, 8, 8].tolist() == [0, 1, 2, 3]
    stream = BatchStream(data.train, Preprocess.fit(data, "scale"), batch_size=6, seeds=[0], workers=1)
    x, y = next(stream)
    stream.close()
    shown = (x[0, :, 0].mean((1, 2)) * 25.6).round().long()
    assert torch.equal(shown % 2, y[0])
    assert len(set(shown.tolist())) == 6


def test_the_fingerprint_of_rows_is_theirs_not_their_places(tmp_path):
    images = [png(10 * value, size=(20 + value, 30)) for value in range(8)]

    def of(name: str, images: list[bytes], labels: list[int]) -> str:
        return load(write_pair(tmp_path / name, images, labels), image_size=16).fingerprint

    known = of("a", images, [0, 1] * 4)
    assert of("b", images, [0, 1] * 4) == known
    assert of("c", images, [1, 0] * 4) != known
    assert of("d", [*images[:-1], png(70, size=(90, 91))], [0, 1] * 4) != known


# --- crops -----------------------------------------------------------------------------------------------------------


def encoded(array: np.ndarray, kind: str = "PNG", **how) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **how)
    return file.getvalue()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A digit, smooth and large, in three different channels: (600, 800, 3)."""
    scan = Image.fromarray((load_digits().images[5] * 15.9).astype("uint8"))
    grey = np.asarray(scan.resize((800, 600), Image.Resampling.BICUBIC))
    return np.stack([grey, grey[::-1], 255 - grey], -1)


def test_the_middle_is_what_torchvision_cuts(peers, picture):
    from torchvision import transforms

    usual = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    expected = np.asarray(usual(Image.fromarray(picture))).astype(int)
    got = cut(encoded(picture), "picture", 224, None)
    assert (got.shape, got.dtype) == ((224, 224, 3), np.uint8)
    assert np.abs(got - expected).max() <= 5  # it rounds the sizes between its two steps; there is one step here


def test_random_crops_are_as_torchvisions(peers):
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    picture = Image.new("L", (300, 200))
    theirs = [RandomResizedCrop.get_params(picture, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)]
    ours = [random_box(300, 200, Random(f"crop {number} of 0")) for number in range(4000)]
    for left, top, right, bottom in ours:
        assert 0 <= left < right <= 300
        assert 0 <= top < bottom <= 200
        assert 0.0799 <= (right - left) * (bottom - top) / 60_000 <= 1
        assert 0.7499 <= (right - left) / (bottom - top) <= 1.3334
    top, left, height, width = np.array(theirs).T
    middle = np.array(ours)
    for expected, got in (
        (left, middle[:, 0]),
        (top, middle[:, 1]),
        (width, middle[:, 2] - middle[:, 0]),
        (height, middle[:, 3] - middle[:, 1]),
    ):
        error = np.sqrt((expected.var() + got.var()) / 4000)
        assert abs(expected.mean() - got.mean()) < 4 * error + 0.6  # theirs are whole pixels
        assert expected.std() == pytest.approx(got.std(), rel=0.06)


@pytest.mark.parametrize(("width", "height"), [(1000, 10), (10, 1000), (1, 1)])
def test_a_crop_fits_into_the_narrowest_image(width, height):
    for number in range(50):
        left, top, right, bottom = random_box(width, height, Random(number))
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    array = np.full((height, width), 77, np.uint8)
    for drawn_from in (None, "1", "2", "3"):
        assert (cut(encoded(array), "narrow", 8, drawn_from) == 77).all()
    assert middle_box(width, height).right <= width


def test_fewer_pixels_of_a_jpeg_are_decoded_and_hardly_differ(picture):
    jpeg = encoded(picture, "JPEG", quality=95)
    with Image.open(io.BytesIO(jpeg)) as image:
        whole = encoded(np.asarray(image))  # the same pixels as PNG, of which all are always decoded
    for drawn_from in (None, *(f"crop {number} of 0" for number in range(30))):
        fast, full = (cut(content, "x", 48, drawn_from).astype(int) for content in (jpeg, whole))
        assert np.abs(fast - full).mean() < 2
    taken = []
    for content in (jpeg, whole):
        began = time.process_time()
        for _ in range(20):
            cut(content, "x", 48, None)
        taken.append(time.process_time() - began)
    assert taken[0] < taken[1]


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_colour(mode):
    file = io.BytesIO()
    Image.new("RGB", (30, 20), (255, 255, 255)).convert(mode).save(file, "TIFF")
    assert (cut(file.getvalue(), mode, 8, None) == 255).all()


def test_photographs_are_turned_upright(picture):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turn by 90 degrees clockwise to look at it
    for kind in ("JPEG", "PNG"):
        turned = encoded(np.rot90(picture).copy(), kind, exif=exif)
        assert np.abs(cut(turned, "x", 64, None).astype(int) - cut(encoded(picture), "x", 64, None)).mean() < 2


# --- training --------------------------------------------------------------------------------------------------------


def stream_of(data: Images, prepared: Preprocess, *seeds: int, workers: int = 2, **more) -> BatchStream:
    more = {"batch_size": 25, "augment": AUGMENT, **more}
    return BatchStream(data.train, prepared, seeds=seeds, workers=workers, **more)


def test_batches_are_the_same_with_any_number_of_workers(data, prepared):
    alone = stream_of(data, prepared, 0, 7, workers=0)
    expected = drawn(alone, 12)  # into the third permutation
    assert expected[0][0].shape == (2, 25, 3, SIZE, SIZE)
    for workers in (1, 3):
        stream = stream_of(data, prepared, 0, 7, workers=workers)
        assert same(drawn(stream, 12), expected)
        stream.close()


def test_the_order_is_that_of_images_in_memory(data, prepared):
    memory = Split(data.train.images.to("cpu"), data.train.labels)
    held = BatchStream(memory, prepared, batch_size=25, seeds=[4, 1])
    stream = stream_of(data, prepared, 4, 1, augment=())
    for (x, y), (held_x, held_y) in zip(drawn(stream, 9), drawn(held, 9), strict=True):
        assert torch.equal(y, held_y)
        assert not torch.equal(x, held_x)  # crops
    stream.close()


def test_a_crop_is_its_samples_and_another_in_the_next_epoch(data, prepared):
    stream = stream_of(data, prepared, 0, augment=(), batch_size=len(data.train))
    order = stream_of(data, prepared, 0, augment=(), batch_size=len(data.train), workers=0)._order
    epochs = []
    for x, _ in drawn(stream, 2):
        (index,) = order.take(len(data.train))
        epochs.append(x[0][index[0].argsort()])
    stream.close()
    different = (epochs[0] != epochs[1]).flatten(1).any(1)
    assert different.all()
    nearest = torch.cdist(epochs[0].flatten(1), epochs[1].flatten(1)).argmin(1)
    chance = 1 / len(data.train)
    assert (nearest == torch.arange(len(data.train))).float().mean() > 5 * chance


def test_a_replica_is_fed_alike_in_any_stack(data, prepared):
    stack = stream_of(data, prepared, 5, 2, 5)
    together = drawn(stack, 7)
    stack.close()
    for row, seed in enumerate((5, 2, 5)):
        stream = stream_of(data, prepared, seed)
        assert same([(x[0], y[0]) for x, y in drawn(stream, 7)], [(x[row], y[row]) for x, y in together])
        stream.close()
    assert not torch.equal(together[0][0][0], together[0][0][1])


@pytest.mark.parametrize("given_out", [0, 3, 4, 11])
def test_a_stream_goes_on_exactly_with_other_workers(data, prepared, given_out, tmp_path):
    stream = stream_of(data, prepared, 4)
    drawn(stream, given_out)
    torch.save(stream.state_dict(), tmp_path / "state.pt")
    expected = drawn(stream, 10)
    stream.close()
    for workers, before in ((0, 2), (1, 0), (3, 2)):
        resumed = stream_of(data, prepared, 4, workers=workers)
        drawn(resumed, before)  # what it did before must not matter
        resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert same(drawn(resumed, 10), expected)
        resumed.close()


@pytest.mark.parametrize("specs", [["flip"], ["flip", "mixup"]])
def test_the_parts_of_a_batch_are_the_batch(data, prepared, specs):
    more = {"augment": make_augmentations(specs), "num_classes": data.num_classes}
    whole = stream_of(data, prepared, 3, 1, **more)
    parts = [stream_of(data, prepared, 3, 1, workers=1, part=Part(index, 3), **more) for index in range(3)]
    for x, y in drawn(whole, 9):
        xs, ys = zip(*(next(part) for part in parts), strict=True)
        assert torch.equal(torch.cat(xs, 1), x)
        assert torch.equal(torch.cat(ys, 1), y)
    one, three = whole.state_dict(), parts[2].state_dict()
    assert torch.equal(one.pop("generators"), three.pop("generators"))
    assert one == three
    for stream in (whole, *parts):
        stream.close()


def test_a_stream_leaves_the_global_generators_alone(data, prepared):
    before = torch.get_rng_state()
    stream = stream_of(data, prepared, 0)
    drawn(stream, 3)
    stream.close()
    list(batches(data.test, prepared, 10, workers=1))
    assert torch.equal(before, torch.get_rng_state())


# --- evaluation and preprocessing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_goes_through_once_in_order(data, prepared, workers):
    found = list(batches(data.test, prepared, 7, workers=workers))
    assert [len(y) for _, y in found] == [7, 7, 7, 7, 3]
    assert torch.equal(torch.cat([y for _, y in found]), data.test.labels)
    assert torch.equal(torch.cat([x for x, _ in found]), prepared(data.test.images.to("cpu")))


@pytest.mark.parametrize("count", [2, 3, 40])
def test_the_parts_of_an_evaluation_are_every_sample_once(data, prepared, count):
    found = [
        pair for index in range(count) for pair in batches(data.test, prepared, 7, part=Part(index, count), workers=0)
    ]
    assert torch.equal(torch.cat([y for _, y in found]), data.test.labels)


def test_an_evaluation_that_is_left_ends_its_workers(data, prepared, children):
    passing = batches(data.test, prepared, 2, workers=2)
    next(passing)
    assert len(children()) == 2
    del passing
    assert children() == []


def test_a_split_is_selected_from(data):
    part = data.test.select(torch.tensor([4, 0, 4]))
    assert torch.equal(part.labels, data.test.labels[[4, 0, 4]])
    assert torch.equal(part.images.to("cpu"), data.test.images.to("cpu")[[4, 0, 4]])


@pytest.mark.parametrize("kind", ["pixel", "channel", "scale", "contrast"])
def test_preprocessing_is_fitted_as_if_the_images_were_in_memory(data, kind):
    splits = [Split(split.images.to("cpu"), split.labels) for split in (data.train, data.validation, data.test)]
    train, validation, test = splits
    memory = replace(data, train=train, validation=validation, test=test)
    expected, got = Preprocess.fit(memory, kind), Preprocess.fit(data, kind)
    assert torch.equal(got.mean, expected.mean)
    assert torch.equal(got.std, expected.std)


def test_preprocessing_is_fitted_on_an_evenly_spaced_sample(data):
    many = data.train.select(torch.arange(5_000) % len(data.train))
    sample = many.images.evenly(2_000)
    assert len(sample) == 2_000
    assert torch.equal(sample.rows, many.images.rows[torch.arange(2_000) * 5 // 2])
    assert torch.equal(data.train.images.evenly(2_000).rows, data.train.images.rows)


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"digit 1/\d+.jpg: the image is empty \(0 bytes\)"),
        (b"not an image", r"digit 1/\d+.jpg: the image cannot be read: its bytes are damaged or of no known format"),
        (None, r"digit 1/\d+.jpg: the image cannot be read"),
        ("gone", r"digit 1/\d+.jpg: the image cannot be read: .*No such file"),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_is_named(tmp_path, content, message, workers, children):
    root = write_digits(tmp_path, {"train": 60, "test": 20})
    data = load(root, image_size=SIZE)
    row = int(data.train.images.rows[data.train.labels == 1][0])
    file = root / "train" / data.train.images.store.names[row]
    if content == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:400] if content is None else content)
    stream = BatchStream(data.train, Preprocess.fit(load("digits")), batch_size=8, seeds=[0], workers=workers)
    with pytest.raises(ValueError, match=message) as caught:
        drawn(stream, 9)
    assert "Traceback" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(RuntimeError, match="was closed, or ended at an image that could not be read"):
        next(stream)
    assert children() == []


def test_closing_or_dropping_a_stream_ends_its_workers(data, prepared, children):
    for end in (BatchStream.close, lambda stream: None):
        stream = stream_of(data, prepared, 0)
        assert children() == []  # none before the first batch
        drawn(stream, 2)
        assert len(children()) == 2
        began = time.perf_counter()
        end(stream)
        del stream
        assert children() == []
        assert time.perf_counter() - began < 5


def test_a_closed_stream_says_so_and_can_be_set_going_again(data, prepared):
    stream = stream_of(data, prepared, 0, workers=0)
    state, expected = stream.state_dict(), drawn(stream, 2)
    stream.close()
    with pytest.raises(RuntimeError, match="was closed"):
        next(stream)
    stream.load_state_dict(state)
    assert same(drawn(stream, 2), expected)


SCRIPT = """
import itertools, multiprocessing, sys
from skipway.data.images.batches import BatchStream
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.sources import load
print("script", flush=True)
data = load(sys.argv[1], image_size=24)
stream = BatchStream(data.train, Preprocess.fit(data), batch_size=10, seeds=[0], workers=2)
next(stream)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
if len(sys.argv) > 2:
    sys.stdin.read()
"""


def test_a_script_is_not_run_again_by_its_workers_and_ends(tmp_path, folder):
    (tmp_path / "script.py").write_text(SCRIPT)  # without the `if __name__ == "__main__"` that others would need
    command = [sys.executable, str(tmp_path / "script.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    first, pids = done.stdout.splitlines()
    assert first == "script"
    assert_gone(pids)


def test_workers_end_when_their_process_is_killed(tmp_path, folder):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(folder), "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        pids = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert_gone(pids)


def assert_gone(pids: str) -> None:
    numbers = [int(pid) for pid in pids.split()]
    assert len(numbers) == 2
    deadline = time.monotonic() + 20
    while alive := [pid for pid in numbers if running(pid)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- size ------------------------------------------------------------------------------------------------------------


def test_a_large_folder_is_found_quickly(tmp_path):
    """What a million files take follows: it is proportional, since only the listing is read."""
    for split, count in (("train", 100), ("val", 2)):
        for label in range(200):
            place = tmp_path / split / f"n{label:08}"
            place.mkdir(parents=True)
            for number in range(count):
                (place / f"n{label:08}_{number}.JPEG").touch()
    began = time.process_time()
    found = find_files(tmp_path)
    assert time.process_time() - began < 5
    assert len(found["train"].names) == 20_000
    assert found["train"].names.bytes.numel() / 20_000 < 40


# --- benchmarks ------------------------------------------------------------------------------------------------------

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def printed(name: str, arguments: str) -> list[str]:
    command = [sys.executable, str(BENCHMARKS / name), *arguments.split()]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_the_benchmark_of_streaming_runs(peers):
    size = "--source digits --size 16 --images 40 --batch 4 --rounds 1 --batches 2"
    rows = [line.split() for line in printed("streaming.py", size)[2:]]
    assert [row[0] for row in rows] == ["usual", "ours"]
    assert all(float(row[1]) > 0 for row in rows)


def test_the_benchmark_of_first_loads_runs():
    rows = [line.split() for line in printed("first_load.py", "--source digits --rounds 1")[1:]]
    assert [row[:2] for row in rows] == [["first", "1,797"], ["second", "1,797"]]
    assert rows[1][-2:] == ["not", "used"]
