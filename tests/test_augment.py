"""Augmentations: the same as the peer's, one by one, on the same draws; draws uniform, seeded, and told when wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Generator, Tensor

from skipway.data.images.augment import AUGMENTATIONS, Augmentation, Crop, Cutout, Flip, canonical, make_augmentations
from skipway.data.images.mixing import CutMix, Mixup
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.sources import load

SHAPE = (3, 32, 32)
EVERY = list(AUGMENTATIONS)


def made(name: str) -> Augmentation:
    """The augmentation of this name, with settings that suit images of 8 x 8 pixels."""
    if AUGMENTATIONS[name].__module__.endswith("kornia"):
        pytest.importorskip("kornia", reason="the extra kornia is not installed")
    (augmentation,) = make_augmentations([name + (":size=3" if name == "cutout" else "")])
    return augmentation


def draws(augmentation: Augmentation, count: int, shape: tuple = SHAPE, seed: int = 0) -> Tensor:
    return augmentation.draw(count, shape, Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def photographs(shared) -> Tensor:
    """100 of CIFAR-10's test images as a net sees them, (100, 3, 32, 32)."""
    data = load(shared / "data" / "cifar10")
    return Preprocess.fit(data, "pixel")(data.test.images[:100])


def digits(augmentation: Augmentation | None = None) -> Tensor:
    """(360, 1, 8, 8): preprocessed, or from 0 to 1 for an augmentation that asks for this."""
    data = load("digits")
    if augmentation is not None and augmentation.on_pixels:
        return data.test.images / data.scale
    return Preprocess.fit(data, "pixel")(data.test.images)


# --- what is done, on given draws ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pad", [1, 4, 8])
def test_a_crop_is_torchvisions(photographs, peers, pad):
    functional = peers.torchvision.transforms.functional
    crop = Crop(pad=pad)
    drawn = draws(crop, len(photographs))
    expected = [
        functional.crop(functional.pad(image, [pad] * 4), top, left, 32, 32)
        for image, (top, left) in zip(photographs, drawn.tolist(), strict=True)
    ]
    assert torch.equal(crop.apply(photographs, drawn), torch.stack(expected))


def test_a_flip_is_torchvisions(photographs, peers):
    drawn = draws(Flip(), len(photographs))
    hflip = peers.torchvision.transforms.functional.hflip
    expected = [hflip(image) if flipped else image for image, flipped in zip(photographs, drawn.tolist(), strict=True)]
    assert torch.equal(Flip().apply(photographs, drawn), torch.stack(expected))


@pytest.mark.parametrize("size", [1, 4, 7])
def test_a_cutout_is_the_papers_square(size):
    images, cutout = digits() + 3, Cutout(size=size)
    drawn = draws(cutout, len(images), (1, 8, 8))
    for image, got, (row, column) in zip(images, cutout.apply(images, drawn), drawn.tolist(), strict=True):
        expected = image.clone()
        top, left = row - size // 2, column - size // 2
        expected[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
        assert torch.equal(got, expected)


def test_a_crop_of_an_oblong_image_keeps_its_sides_apart():
    image = torch.arange(1.0, 16).view(1, 1, 3, 5)
    got = Crop(pad=2).apply(image.expand(2, 1, 3, 5), torch.tensor([[4, 1], [2, 2]]))
    assert got[0, 0].tolist() == [[0, 11, 12, 13, 14], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert torch.equal(got[1], image[0])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_images_given_are_left_as_they_are(name, dtype):
    augmentation = made(name)
    images = digits(augmentation).to(dtype)
    before = images.clone()
    got = augmentation.apply(images, draws(augmentation, len(images), (1, 8, 8)))
    assert torch.equal(images, before)
    assert (got.shape, got.dtype) == (images.shape, dtype)
    assert not torch.equal(got, before)
    got.zero_()
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", EVERY)
def test_an_image_is_changed_alike_in_every_batch(name):
    augmentation = made(name)
    images = digits(augmentation)
    drawn = draws(augmentation, len(images), (1, 8, 8))
    # An even number of images: those that mix do it with a neighbour, and leave it together with it.
    parts = [augmentation.apply(*pair) for pair in zip(images.split(22), drawn.split(22), strict=True)]
    assert torch.equal(torch.cat(parts), augmentation.apply(images, drawn))


# --- the draws -------------------------------------------------------------------------------------------------------


def chi_square(counts: Tensor) -> float:
    """How far counts are from equal: about the number of them less one where they come from equal chances."""
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


def test_every_offset_with_either_side_is_as_likely():
    count = 162 * 500
    generator = Generator().manual_seed(0)
    offset = Crop().draw(count, SHAPE, generator)
    flipped = Flip().draw(count, SHAPE, generator)
    assert (offset.min(), offset.max()) == (0, 8)
    counts = torch.bincount((offset[:, 0] * 9 + offset[:, 1]) * 2 + flipped, minlength=162)
    assert len(counts) == 162
    assert counts.min() > 0
    # 161 degrees of freedom: outside of this in 1 of 10,000 draws, and the seed is fixed.
    assert 100 < chi_square(counts) < 235


def test_every_centre_is_as_likely():
    centre = draws(Cutout(size=2), 15 * 2000, (1, 3, 5))
    counts = torch.bincount(centre[:, 0] * 5 + centre[:, 1], minlength=15)
    assert len(counts) == 15
    assert 1 < chi_square(counts) < 45


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_the_chance_of_a_flip_is_what_is_asked(p):
    share = draws(Flip(p=p), 20_000).double().mean().item()
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / 20_000) ** 0.5)


@pytest.mark.parametrize("name", EVERY)
def test_draws_follow_from_the_generator_alone(name):
    augmentation = made(name)
    before = torch.get_rng_state()
    assert torch.equal(draws(augmentation, 50), draws(augmentation, 50))
    assert not torch.equal(draws(augmentation, 50), draws(augmentation, 50, seed=1))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", EVERY)
def test_nothing_random_is_left_to_what_is_done(name):
    augmentation = made(name)
    images = digits(augmentation)
    drawn = draws(augmentation, len(images), (1, 8, 8))
    before = torch.get_rng_state()
    assert torch.equal(augmentation.apply(images, drawn), augmentation.apply(images, drawn))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", EVERY)
def test_what_is_done_waits_for_no_result(name):
    """On the device "meta" there are no results to wait for; what asks for one fails there."""
    augmentation = made(name)
    images = digits(augmentation)
    drawn = draws(augmentation, len(images), (1, 8, 8))
    got = augmentation.apply(images.to("meta"), drawn.to("meta"))
    assert (got.shape, got.device.type) == (images.shape, "meta")


@pytest.mark.parametrize("name", EVERY)
def test_pixels_stay_from_0_to_1(name):
    augmentation = made(name)
    if not augmentation.on_pixels:
        pytest.skip("it changes what preprocessing gives, which has no bounds")
    images = digits(augmentation)
    got = augmentation.apply(images, draws(augmentation, len(images), (1, 8, 8)))
    assert 0 <= got.min() < got.max() <= 1


def test_crop_then_flip_gives_each_of_the_162_views():
    image = torch.rand(1, *SHAPE, generator=Generator().manual_seed(1)).expand(5000, *SHAPE)
    generator = Generator().manual_seed(0)
    for augmentation in make_augmentations(["crop", "flip"]):
        image = augmentation.apply(image, augmentation.draw(len(image), SHAPE, generator))
    assert len(image.flatten(1).unique(dim=0)) == 162


# --- names -----------------------------------------------------------------------------------------------------------


def test_specifications_name_augmentations_with_their_settings():
    assert make_augmentations(["crop", "flip:p=1", "cutout:size=16"]) == (Crop(pad=4), Flip(p=1.0), Cutout(size=16))
    assert make_augmentations(["mixup", "cutmix:alpha=2"]) == (Mixup(alpha=0.2), CutMix(alpha=2.0))
    assert make_augmentations([]) == ()
    assert [canonical(spec) for spec in ("crop:pad=4", " crop:pad=8", "flip:p=0.50", "flip:p=1")] == [
        "crop",
        "crop:pad=8",
        "flip",
        "flip:p=1",
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "flips",
            r"unknown augmentation 'flips'. Did you mean 'flip'\? Valid: colorjitter, crop, cutmix, cutout, flip, ",
        ),
        ("crop:size=4", r"augmentation 'crop' has no setting 'size'. Its settings and their defaults: pad=4"),
        ("crop:pad=0.5", r"augmentation 'crop', setting 'pad': '0.5' is not a whole number; the default is 4"),
        ("crop:pad=0", "augmentation crop: pad is a number of pixels, 1 or more; it is 0"),
        ("flip:p=0", "augmentation flip: p is a probability, above 0 and up to 1; it is 0"),
        ("flip:p=1.5", "augmentation flip: p is a probability, above 0 and up to 1; it is 1.5"),
        ("cutout:size=-1", "augmentation cutout: size is a number of pixels, 1 or more; it is -1"),
        ("mixup:alpha=0", "augmentation mixup: alpha is that of a Beta distribution, above 0; it is 0"),
        ("cutmix:alpha=-1", "augmentation cutmix: alpha is that of a Beta distribution, above 0; it is -1"),
    ],
)
def test_wrong_specifications_are_told(spec, message):
    for read in (canonical, lambda text: make_augmentations(["crop", text])):
        with pytest.raises(ValueError, match=message):
            read(spec)


@pytest.mark.parametrize("spec", ["crop:pad=5", "cutout:size=5"])
def test_images_too_small_are_told(spec):
    (augmentation,) = make_augmentations([spec])
    draws(augmentation, 1, (1, 6, 6))
    with pytest.raises(ValueError, match=rf"{spec} on images of 9 x 5 pixels may leave nothing .*1 to 4 are valid"):
        draws(augmentation, 1, (1, 5, 9))


def test_a_new_augmentation_is_one_class():
    try:

        @dataclass(frozen=True, kw_only=True)
        class Brighter(Augmentation, name="brighter"):
            by: float = 1.0

            def draw(self, count: int, shape: tuple[int, int, int], generator: Generator) -> Tensor:
                return torch.rand(count, generator=generator) * self.by

            def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
                return images + drawn[:, None, None, None]

        (made,) = make_augmentations(["brighter:by=2"])
        assert made == Brighter(by=2.0)
        assert canonical("brighter:by=1") == "brighter"
    finally:
        AUGMENTATIONS.remove("brighter")
