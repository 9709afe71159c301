"""Nets, images and trainings, as several parts need them."""

from __future__ import annotations

from typing import Any

import torch

from gpu_parts.bench import Bench
from gpu_parts.settings import Setting
from skipway.data.images.augment import make_augmentations
from skipway.data.images.batches import BatchStream
from skipway.data.images.dataset import Images
from skipway.data.images.labelled import Split, held_images
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.sources import load
from skipway.nets.registry import build
from skipway.tasks.classification import Classification
from skipway.training.loop import Training
from skipway.training.recipe import Recipe
from skipway.training.replicas import Replicas, Single


def prepared(bench: Bench, net: Replicas, data: Images, recipe: Recipe, setting: Setting, steps: int) -> Training:
    net.train()
    rates, before = [recipe.learning_rates[0]], lambda: setting.before_forward(bench.device)
    return Training(
        net, stream(bench, data, recipe), recipe, Classification(), rates=rates, steps=steps, precision=before
    )


def advance(training: Training, count: int) -> None:
    for _ in range(count):
        training.advance()


def net_for(bench: Bench, data: Images, name: str, **settings: int) -> Replicas:
    torch.manual_seed(0)
    return Single(build(name, num_classes=data.num_classes, in_channels=data.shape[0], **settings)).to(bench.device)


def stream(bench: Bench, data: Images, recipe: Recipe) -> BatchStream:
    preprocess, augment = Preprocess.fit(data, kind(recipe)), make_augmentations(recipe.augment)
    size = recipe.batch_size
    return BatchStream(data.train, preprocess, batch_size=size, seeds=[0], augment=augment, device=bench.device)


def kind(recipe: Recipe) -> Any:
    return recipe.preprocess


def open_data(bench: Bench) -> Images:
    return random_images(bench.size.images) if bench.data is None else load(bench.data)


def random_images(count: int) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    split = Split(pixels, torch.randint(10, (count,), generator=generator))
    held = split.select(torch.arange(count // 5))
    return Images(
        name="random",
        classes=tuple("0123456789"),
        scale=255.0,
        fingerprint="",
        train=split,
        validation=held,
        test=held,
        validation_rule="",
    )


def joined(*parts: Split) -> Split:
    return Split(torch.cat([held_images(part) for part in parts]), torch.cat([part.labels for part in parts]))
