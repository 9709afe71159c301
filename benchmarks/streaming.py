"""Images a second out of a folder of JPEG files, against torchvision's usual way, with the same number of workers.

    python benchmarks/streaming.py [--source cifar10] [--size 224] [--workers 2]

The folder is made for the occasion: a data set's small images enlarged to about 400 x 300 pixels, quality 90. The usual
way: ImageFolder, RandomResizedCrop, RandomHorizontalFlip, ToTensor and Normalize in a DataLoader. Ours: the batches of
`BatchStream` with flips and the channels' preprocessing. Both end in float32 batches in memory;
nothing is trained. The ways take turns, and figures are medians over the rounds; batches that workers made ready while
the other way ran are not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from skipway.data.images.augment import make_augmentations
from skipway.data.images.batches import BatchStream
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.sources import load
from skipway.training.machine import keep_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="cifar10", help="what the pictures are made of: as `load` takes it")
    for name, default in (
        ("size", 224),
        ("workers", 2),
        ("batch", 64),
        ("images", 600),
        ("rounds", 5),
        ("batches", 15),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    wanted = parser.parse_args()
    torch.set_num_threads(1)  # the cores are the workers'
    keep_memory()  # as a training does; both ways have it
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), wanted.source, wanted.images)
        streams = {"usual": usual(Path(folder), wanted), "ours": ours(Path(folder), wanted)}
        rates: dict[str, list[float]] = {way: [] for way in streams}
        for _ in range(wanted.rounds):
            for way, stream in streams.items():
                rates[way].append(rate(stream, wanted))
        streams["ours"].close()
        del streams, stream
    report(rates, wanted)


def report(rates: dict[str, list[float]], wanted: argparse.Namespace) -> None:
    about = f"{wanted.workers} workers, {os.cpu_count()} cores, torch {torch.__version__}"
    print(f"{about}, {wanted.size} x {wanted.size}, batch {wanted.batch}")
    print(f"{'way':6} {'images/s':>9} {'range':>13} {'speed-up':>9}")
    medians = {way: statistics.median(found) for way, found in rates.items()}
    for way, found in rates.items():
        spread = f"{min(found):.0f} to {max(found):.0f}"
        print(f"{way:6} {medians[way]:9.0f} {spread:>13} {medians[way] / medians['usual']:8.2f}x")


def write_pictures(folder: Path, source: str, count: int) -> None:
    """`count` JPEG files of classes in train and a tenth as many in test, of about 400 x 300 pixels."""
    data = load(source)
    for name, split, number in (("train", data.train, count), ("test", data.test, max(count // 10, 10))):
        for row in range(number):
            file = folder / name / str(int(split.labels[row])) / f"{row}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = (split.images[row].permute(1, 2, 0) * (255 / data.scale)).byte().numpy()
            small = Image.fromarray(pixels.squeeze()).convert("RGB")
            size = (360 + row % 9 * 10, 270 + row % 7 * 10)
            small.resize(size, Image.Resampling.BICUBIC).save(file, quality=90)


def ours(folder: Path, wanted: argparse.Namespace) -> BatchStream:
    data = load(folder, image_size=wanted.size)
    return BatchStream(
        data.train,
        Preprocess.fit(data),
        batch_size=wanted.batch,
        seeds=[0],
        augment=make_augmentations(["flip"]),
        workers=wanted.workers,
    )


def usual(folder: Path, wanted: argparse.Namespace) -> Iterator[Any]:
    datasets, transforms = torchvision()
    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(wanted.size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)),
        ]
    )
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(str(folder / "train"), change),
        batch_size=wanted.batch,
        shuffle=True,
        drop_last=True,
        num_workers=wanted.workers,
        persistent_workers=True,
        multiprocessing_context="fork",  # as it is in an ordinary script on Linux
    )
    while True:
        yield from loader


def torchvision() -> tuple[Any, Any]:
    try:
        from torchvision import datasets, transforms
    except RuntimeError:  # its compiled operators may not fit this build of torch; none of them is needed
        for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        for operator in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", schema)
        from torchvision import datasets, transforms
    return datasets, transforms


def rate(stream: Iterator[Any], wanted: argparse.Namespace) -> float:
    """Images a second, after as many batches as workers may have made ready."""
    for _ in range(2 * wanted.workers + 1):
        next(stream)
    began = time.perf_counter()
    for _ in range(wanted.batches):
        next(stream)
    return wanted.batches * wanted.batch / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
