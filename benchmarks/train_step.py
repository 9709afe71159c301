"""A training step of a convolutional net, data and augmentation included, against the loop that most people write.

    python benchmarks/train_step.py [--nets resnet-20 resnet-56 highway-56 resnet-110] [--batch 128]

The usual loop: torchvision's transforms (crop, flip, to tensor, normalise) image by image in a DataLoader with two
workers, an eager net in torch's default memory format, `torch.optim.SGD`. Ours: `skipway.training.loop.train` with the
recipe he2015 over `BatchStream`, the net in channels_last, its blocks compiled; and the same
without compiling. Each way has a process of its own that keeps its nets from round to round; the ways take turns, and
figures are medians over the rounds.

Peak is this machine's own float32 matrix product of 2048 x 2048 on all cores, in the same run; the share of it counts a
multiplication and an addition as two, and a backward pass as two forward passes. Images are 50,000 of random pixels, 32
x 32: what they show does not change what they cost.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skipway.anatomy.cost import cost
from skipway.data.images.augment import make_augmentations
from skipway.data.images.batches import BatchStream
from skipway.data.images.dataset import Images
from skipway.data.images.labelled import Split
from skipway.data.images.preprocess import Preprocess
from skipway.nets.registry import build
from skipway.studies.process import start_worker
from skipway.tasks.classification import Classification
from skipway.training.evaluate import Scores
from skipway.training.execution import Execution, compiling, prepare
from skipway.training.loop import train
from skipway.training.recipe import RECIPES
from skipway.training.replicas import Single

RECIPE = RECIPES["he2015"]
SHAPE, IMAGES, CLASSES = (3, 32, 32), 50_000, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=["resnet-20", "resnet-56", "highway-56", "resnet-110"])
    for name, default in (("batch", RECIPE.batch_size), ("rounds", 5), ("steps", 20), ("images", IMAGES)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--product", type=int, default=2048, help="side of the matrices whose product is the peak")
    wanted = parser.parse_args()
    cores = torch.get_num_threads()
    print(f"{cores} threads, torch {torch.__version__}, batch {wanted.batch}; speed-ups are against the usual loop")
    head = f"{'net':12} {'way':16} {'ms a step':>10} {'images/s':>9} {'ms a layer':>11} {'speed-up':>9} {'of peak':>8}"
    print(f"{head} {'first step s':>13}", flush=True)
    for net in wanted.nets:
        report(net, wanted, cores)


def report(name: str, wanted: argparse.Namespace, cores: int) -> None:
    ways: dict[str, tuple[Callable[..., Any], tuple[Any, ...], Callable[[int, str], None]]] = {
        "usual loop": (usual, (), nothing),
        "ours, eager": (ours, (Execution(channels_last=True),), start_worker),
        "ours": (ours, (Execution(channels_last=True, compiled=True),), start_worker),
    }
    spawn = get_context("spawn")
    pools = {
        way: ProcessPoolExecutor(1, spawn, initializer=start, initargs=(os.getpid(), str(Path.cwd())))
        for way, (_, _, start) in ways.items()
    }
    job = (name, wanted.batch, wanted.images, cores)
    first = {way: pools[way].submit(f, *job, *more, 1).result() for way, (f, more, _) in ways.items()}
    times: dict[str, list[float]] = {way: [] for way in ways}
    peaks = []
    for _ in range(wanted.rounds):
        for way, (function, more, _) in ways.items():
            times[way].append(pools[way].submit(function, *job, *more, wanted.steps).result())
        peaks.append(pools["usual loop"].submit(peak_rate, cores, wanted.product).result())
    for pool in pools.values():
        pool.shutdown()
    peak, net = statistics.median(peaks), build(name, num_classes=CLASSES)
    flops = 3 * 2 * cost(net, SHAPE).multiply_adds * wanted.batch
    layers = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in net.modules())
    medians = {way: statistics.median(values) for way, values in times.items()}
    for way, seconds in medians.items():
        rates = f"{seconds * 1e3:10.1f} {wanted.batch / seconds:9.0f} {seconds * 1e3 / layers:11.2f}"
        ratio, share = medians["usual loop"] / seconds, flops / seconds / peak
        print(f"{name:12} {way:16} {rates} {ratio:8.2f}x {share:8.0%} {first[way]:13.1f}", flush=True)
    print(f"{'':12} matrix-product peak {peak / 1e9:.0f} GFLOP/s", flush=True)


def nothing(parent: int, folder: str) -> None:
    """What prepares a process for the usual loop."""


def usual(name: str, batch: int, images: int, threads: int, steps: int) -> float:
    """Seconds a step of the loop that most people write."""
    torch.set_num_threads(threads)
    net, optimizer, batches = usual_parts(name, batch, images)

    def run(count: int) -> None:
        for _ in range(count):
            x, y = next(batches)
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()

    run(5 if steps > 1 else 0)  # what the loader's workers made ready while other ways ran
    return timed(run, steps)


@cache
def usual_parts(name: str, batch: int, images: int) -> tuple[nn.Module, torch.optim.Optimizer, Iterator[Any]]:
    transforms = torchvision_transforms()
    change = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)),
        ]
    )
    loader = torch.utils.data.DataLoader(
        Pictures(random_split(images), change),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context="fork",  # as it is in an ordinary script on Linux
    )
    net = build(name, num_classes=CLASSES)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=RECIPE.momentum, weight_decay=RECIPE.weight_decay)
    return net, optimizer, endless(loader)


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """As torchvision's CIFAR10: an image becomes a PIL image, then passes through the transforms."""

    def __init__(self, split: Split, change: Callable[[Any], Tensor]) -> None:
        self.pixels = split.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels, self.change = split.labels.tolist(), change

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.change(Image.fromarray(self.pixels[index])), self.labels[index]


def torchvision_transforms() -> Any:
    try:
        import torchvision.transforms as transforms
    except RuntimeError:  # its compiled operators may not fit this build of torch; transforms do not need them
        for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        for operator in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", schema)
        import torchvision.transforms as transforms
    return transforms


def endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def ours(name: str, batch: int, images: int, threads: int, execution: Execution, steps: int) -> float:
    """Seconds a step of Skipway's own loop."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    net, stream = our_parts(name, batch, images, execution)

    def run(count: int) -> None:
        train(
            net,
            stream,
            RECIPE,
            Classification(),
            rates=[0.1],
            steps=count,
            epoch_steps=images / batch,
            validate=lambda _: Scores(torch.zeros(1), torch.zeros(1)),
            intervals=1,
        )

    with compiling(execution):
        run(5 if steps > 1 else 0)
        return timed(run, steps)


@cache
def our_parts(name: str, batch: int, images: int, execution: Execution) -> tuple[Single, BatchStream]:
    split = random_split(images)
    data = Images(
        name="random",
        classes=tuple("0123456789"),
        scale=255.0,
        fingerprint="",
        train=split,
        validation=split,
        test=split,
        validation_rule="",
    )
    net = Single(build(name, num_classes=CLASSES))
    prepare(net.net, execution)
    augment = make_augmentations(RECIPE.augment)
    return net, BatchStream(split, Preprocess.fit(data, "pixel"), batch_size=batch, seeds=[0], augment=augment)


def random_split(images: int) -> Split:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, *SHAPE), dtype=torch.uint8, generator=generator)
    return Split(pixels, torch.randint(CLASSES, (images,), generator=generator))


def timed(run: Callable[[int, str], None], steps: int) -> float:
    began = time.perf_counter()
    run(steps)
    return (time.perf_counter() - began) / steps


def peak_rate(threads: int, size: int) -> float:
    """Of this machine's products, operations a second: the best of several."""
    torch.set_num_threads(threads)
    a, b = torch.randn(size, size), torch.randn(size, size)

    def run(count: int) -> None:
        for _ in range(count):
            torch.mm(a, b)

    run(3)
    return 2 * size**3 / min(timed(run, 5) for _ in range(5))


if __name__ == "__main__":
    main()
