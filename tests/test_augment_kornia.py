"""RandAugment and ColorJitter are torchvision's, step by step; a mixup is Kornia's; streams of them go on exactly."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor

from helpers import cross_entropy, error_rate
from image_folders import write_digits
from skipway.data.images.augment import make_augmentations
from skipway.data.images.augment_kornia import OPERATIONS, ColorJitter, RandAugment
from skipway.data.images.batches import BatchStream
from skipway.data.images.mixing import CutMix, Mixing, Mixup, with_neighbours
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.sources import load
from skipway.data.part import Part

SHAPE = (3, 32, 32)
# torchvision's names.
TWINS = {name: name.title().replace("-", "") for name in OPERATIONS} | {"autocontrast": "AutoContrast"}


@pytest.fixture
def kornia():
    return pytest.importorskip("kornia", reason="the extra kornia is not installed")


@pytest.fixture(scope="module")
def photographs(shared) -> Tensor:
    """100 of CIFAR-10's test images, uint8 (100, 3, 32, 32)."""
    return load(shared / "data" / "cifar10").test.images[:100]


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


# --- what is done, on given draws ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "negative"), [(1, False), (19, False), (19, True), (30, True)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_torchvisions(kornia, photographs, peers, operation, negative, m):
    module = peers.torchvision.transforms.autoaugment
    strengths, signed = module.RandAugment()._augmentation_space(31, SHAPE[1:])[TWINS[operation]]
    strength = float(strengths[m]) if strengths.dim() else 0.0
    nearest = peers.torchvision.transforms.InterpolationMode.NEAREST
    expected = module._apply_op(
        photographs, TWINS[operation], -strength if negative and signed else strength, nearest, None
    )
    drawn = torch.full((len(photographs), 1), 2 * OPERATIONS.index(operation) + negative)
    got = RandAugment(n=1, m=m).apply(photographs / 255, drawn) * 255
    # torchvision cuts fractions of a level off, also on the way to its result; and a level may lie on a limit.
    assert ((got - expected).abs() > 2).float().mean() < 1e-4
    # The weakest moves are by less than a pixel.
    assert m == 1 or torch.equal(got.round(), photographs.float()) == (operation == "identity")


def test_operations_come_one_after_another(kornia, photographs):
    images = photographs / 255
    drawn = RandAugment(n=3).draw(len(images), SHAPE, generator())
    one_by_one = images
    for step in drawn.split(1, 1):
        one_by_one = RandAugment(n=1).apply(one_by_one, step)
    assert torch.equal(RandAugment(n=3).apply(images, drawn), one_by_one)


def test_a_flat_image_has_no_contrast_to_stretch(kornia):
    flat = torch.full((2, 1, 4, 4), 0.5)
    drawn = torch.full((2, 1), 2 * OPERATIONS.index("autocontrast"))
    assert torch.equal(RandAugment(n=1).apply(flat, drawn), flat)


@pytest.mark.parametrize("setting", ["brightness", "contrast", "saturation", "hue"])
def test_a_part_of_the_jitter_is_torchvisions(kornia, photographs, peers, setting):
    nothing = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    jitter = ColorJitter(**{**nothing, setting: 0.4})
    images = photographs / 255
    drawn = jitter.draw(len(images), SHAPE, generator())
    place = list(nothing).index(setting)
    peer = getattr(peers.torchvision.transforms.functional, f"adjust_{setting}")
    expected = torch.stack([peer(image, row[place]) for image, row in zip(images, drawn.tolist(), strict=True)])
    torch.testing.assert_close(jitter.apply(images, drawn), expected, atol=2e-3, rtol=0)
    others = [column for column in range(4) if column != place]
    assert torch.equal(drawn[:, others], torch.tensor([1.0, 1, 1, 0])[others].expand(100, 3))


def test_the_parts_of_the_jitter_come_in_their_order(kornia, photographs):
    images, jitter = photographs / 255, ColorJitter()
    drawn = jitter.draw(len(images), SHAPE, generator())
    one_by_one = images
    for setting in ("brightness", "contrast", "saturation", "hue"):
        others = {name: 0.0 for name in ("brightness", "contrast", "saturation", "hue") if name != setting}
        one_by_one = replace(jitter, **others).apply(one_by_one, drawn)
    assert torch.equal(jitter.apply(images, drawn), one_by_one)


def test_what_is_drawn_lies_within_the_settings(kornia):
    drawn = ColorJitter(brightness=1.5, contrast=0.2, hue=0.5).draw(20_000, SHAPE, generator())
    for column, (low, high) in zip(drawn.unbind(1), [(0, 2.5), (0.8, 1.2), (0.6, 1.4), (-0.5, 0.5)], strict=True):
        assert low <= column.min() < low + 0.001 * (high - low)
        assert high - 0.001 * (high - low) < column.max() <= high
        assert column.mean() == pytest.approx((low + high) / 2, abs=0.01 * (high - low))


def test_every_operation_in_either_direction_is_as_likely(kornia):
    counts = torch.bincount(RandAugment(n=2).draw(28_000, SHAPE, generator()).flatten(), minlength=28)
    assert len(counts) == 28
    assert (counts - 2000).abs().max() < 4 * 2000**0.5


@pytest.mark.parametrize(("side", "channels"), [(32, 1), (224, 3)])
@pytest.mark.parametrize("make", [RandAugment, ColorJitter])
def test_an_image_alone_is_changed_as_in_a_batch_on_any_number_of_threads(kornia, photographs, side, channels, make):
    """Sums over a large image, and convolutions, are done otherwise where there is one image, or another thread."""
    images = torch.nn.functional.interpolate(photographs[:28, :channels] / 255, side)
    augmentation = make()
    drawn = augmentation.draw(len(images), (channels, side, side), generator())
    if make is RandAugment:
        drawn[:, 0] = torch.arange(28)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = augmentation.apply(images, drawn)
        alone = [augmentation.apply(*pair) for pair in zip(images.split(1), drawn.split(1), strict=True)]
        torch.set_num_threads(1)
        assert torch.equal(together, augmentation.apply(images, drawn))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together, torch.cat(alone))


# --- mixing ----------------------------------------------------------------------------------------------------------


def exchanged(count: int) -> Tensor:
    """Each one's neighbour."""
    return torch.arange(count).view(-1, 2).flip(1).flatten()


def test_a_mixup_is_kornias(kornia, photographs):
    images, labels = photographs / 255, torch.arange(100) % 10
    weight = Mixup(alpha=1.0).draw(100, SHAPE, generator())
    given = {"mixup_pairs": exchanged(100), "mixup_lambdas": 1 - weight, "batch_prob": torch.ones(100)}
    twin = kornia.augmentation.RandomMixUpV2(data_keys=["input", "class"])
    expected, (one, other, share) = (lambda x, y: (x, y.unbind(1)))(*twin(images, labels, params=given))
    torch.testing.assert_close(Mixup().apply(images, weight), expected)
    probabilities = torch.eye(10)[one.long()] * (1 - share[:, None]) + torch.eye(10)[other.long()] * share[:, None]
    torch.testing.assert_close(Mixup().apply_to_labels(torch.eye(10)[labels], weight, SHAPE), probabilities)


def test_a_cutmix_puts_in_its_neighbours_box(photographs):
    images, labels = photographs / 255, torch.eye(10)[torch.arange(100) % 10]
    drawn = CutMix().draw(100, SHAPE, generator())
    got, mixed = CutMix().apply(images, drawn), CutMix().apply_to_labels(labels, drawn, SHAPE)
    for place, other in enumerate(exchanged(100).tolist()):
        top, bottom, left, right = drawn[place].tolist()
        expected = images[place].clone()
        expected[:, top:bottom, left:right] = images[other, :, top:bottom, left:right]
        assert torch.equal(got[place], expected)
        share = (bottom - top) * (right - left) / 32**2
        torch.testing.assert_close(mixed[place], (1 - share) * labels[place] + share * labels[other])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_weights_have_the_distribution_that_is_asked(alpha):
    weight = Mixup(alpha=alpha).draw(20_000, SHAPE, generator()).double()
    assert weight.mean() == pytest.approx(0.5, abs=0.015)
    assert weight.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    _, bottom, _, right = (CutMix(alpha=alpha).draw(20_000, SHAPE, generator()) - torch.tensor([0, 32, 0, 32])).unbind(
        1
    )
    assert bottom.max() == right.max() == 0


def test_boxes_lie_around_their_centres_and_centres_anywhere():
    top, bottom, left, right = CutMix().draw(20_000, SHAPE, generator()).double().unbind(1)
    for first, end in ((top, bottom), (left, right)):
        assert (first + end).mean() == pytest.approx(32, abs=1)
        half = (end - first) == 16
        centres = torch.bincount(((first + end)[half] / 2).long(), minlength=33)
        assert torch.all(centres[8:25] > 0)


def test_an_oblong_images_box_keeps_its_sides_apart():
    drawn = CutMix().draw(5000, (1, 4, 40), generator())
    top, bottom, left, right = drawn.unbind(1)
    assert (top.min(), bottom.max(), left.min(), right.max()) == (0, 4, 0, 40)
    own = CutMix().own(drawn, (1, 4, 40))
    assert own.shape == (5000, 1, 4, 40)
    assert torch.equal((own == 0).sum((1, 2, 3)), (bottom - top) * (right - left))


@pytest.mark.parametrize("mixing", [Mixup(), CutMix()])
def test_the_last_of_an_odd_number_stays(mixing: Mixing):
    images = torch.rand(2, 5, 1, 8, 8, generator=generator())
    drawn = torch.stack([mixing.draw(5, (1, 8, 8), generator(seed)) for seed in (1, 2)])
    got = mixing.apply(images, drawn)
    assert torch.equal(got[:, 4], images[:, 4])
    for replica in range(2):
        assert torch.equal(got[replica], mixing.apply(images[replica], drawn[replica]))


def test_a_share_takes_its_neighbours_along():
    assert with_neighbours(slice(0, 4), 10) == slice(0, 4)
    assert with_neighbours(slice(3, 5), 10) == slice(2, 6)
    assert with_neighbours(slice(5, 7), 7) == slice(4, 7)


# --- the order in a batch, and streams -------------------------------------------------------------------------------

FEW = torch.arange(350)  # of the digits: the fourth batch of 101 reaches into the second permutation
MIXED = ("randaugment:m=20", "colorjitter:hue=0", "crop:pad=1", "mixup", "flip", "cutmix")


def stream(*seeds: int, augment: tuple[str, ...] = MIXED, preprocess: str = "pixel", **more) -> BatchStream:
    data = load("digits")
    more = {"batch_size": 101, "scale": data.scale, "num_classes": data.num_classes, **more}
    made, few = make_augmentations(augment), data.train.select(FEW)
    return BatchStream(few, Preprocess.fit(data, preprocess), seeds=seeds, augment=made, **more)


def taken(batches: BatchStream, count: int) -> list[tuple[Tensor, Tensor]]:
    return list(itertools.islice(batches, count))


def assert_same(found: list[tuple[Tensor, Tensor]], expected: list[tuple[Tensor, Tensor]]) -> None:
    for got, wanted in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("preprocess", ["pixel", "channel", "scale", "contrast"])
def test_pixels_are_changed_before_preprocessing(kornia, preprocess):
    (x, _), (plain, _) = (next(stream(3, augment=augment, preprocess=preprocess)) for augment in (("colorjitter",), ()))
    data = load("digits")
    few = data.train.select(FEW)
    index = BatchStream(few, Preprocess.fit(data), batch_size=101, seeds=[3])._order.take(101)[0][0]
    (jitter,) = make_augmentations(["colorjitter"])
    order = stream(3, augment=("colorjitter",))._order
    drawn = order.take(101)[1][0]
    changed = (jitter.apply(few.images[index] / 16, drawn) * 16).round().byte()
    assert torch.equal(x[0], Preprocess.fit(data, preprocess)(changed))
    assert not torch.equal(x, plain)


def test_a_replica_is_augmented_alike_in_any_stack(kornia):
    together = taken(stream(5, 2, 5, 0), 5)
    for row, seed in enumerate((5, 2, 5, 0)):
        assert_same(taken(stream(seed), 5), [(x[row : row + 1], y[row : row + 1]) for x, y in together])


@pytest.mark.parametrize("drawn", [0, 2, 3, 4])
def test_an_augmented_stream_goes_on_exactly(kornia, drawn, tmp_path):
    first = stream(4, 1, 4)
    taken(first, drawn)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    expected = taken(first, 8)
    resumed = stream(4, 1, 4)
    torch.rand(1)  # what others draw must not matter
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert_same(taken(resumed, 8), expected)


def test_a_stream_leaves_the_global_generator_alone(kornia):
    before = torch.get_rng_state()
    taken(stream(0, 1), 3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("count", "batch_size"), [(2, 101), (3, 100), (3, 101), (7, 100), (50, 101)])
def test_the_parts_of_a_mixed_batch_are_the_batch(kornia, count, batch_size):
    """Also where a share ends between two neighbours."""
    whole = stream(4, 1, batch_size=batch_size)
    parts = [stream(4, 1, batch_size=batch_size, part=Part(index, count)) for index in range(count)]
    for _ in range(2):
        shares = [next(part) for part in parts]
        assert_same([tuple(torch.cat(values, 1) for values in zip(*shares, strict=True))], [next(whole)])


def test_streamed_images_are_mixed_with_their_neighbours_too(kornia, tmp_path):
    """Images that are decoded as they are needed, in three parts of which two end between two neighbours."""
    data = load(write_digits(tmp_path, {"train": 40, "test": 10}), image_size=16)
    about = {"batch_size": 10, "seeds": [0, 3], "workers": 0, "scale": data.scale, "num_classes": data.num_classes}
    about |= {"augment": make_augmentations(["colorjitter", "mixup", "cutmix"])}
    prepared = Preprocess.fit(data)
    whole = BatchStream(data.train, prepared, **about)
    parts = [BatchStream(data.train, prepared, part=Part(index, 3), **about) for index in range(3)]
    for _ in range(5):  # into the second permutation
        shares = [next(part) for part in parts]
        assert_same([tuple(torch.cat(values, 1) for values in zip(*shares, strict=True))], [next(whole)])


def test_mixed_labels_are_probabilities_of_the_right_classes():
    (_, y), (_, plain) = (next(stream(0, 1, augment=augment)) for augment in (("mixup", "cutmix"), ()))
    assert (y.shape, y.dtype, plain.dtype) == ((2, 101, 10), torch.float32, torch.int64)
    torch.testing.assert_close(y.sum(-1), torch.ones(2, 101))
    assert y.min() >= 0
    neighbour = torch.cat([plain[:, :100].view(2, 50, 2).flip(2).flatten(1), plain[:, 100:]], 1)
    here, other = (y.gather(2, labels[..., None]).squeeze(2) for labels in (plain, neighbour))
    assert torch.all((here + other > 0.9999) | (plain == neighbour))
    assert 0 < (y.argmax(-1) != plain).float().mean() < 0.5


def test_without_mixing_labels_stay_classes(kornia):
    _, y = next(stream(0, augment=("randaugment", "flip")))
    assert (y.shape, y.dtype) == ((1, 101), torch.int64)


def test_scores_are_held_to_probabilities_or_to_classes():
    scores = torch.randn(2, 9, 10, generator=generator())
    labels = torch.randint(10, (2, 9), generator=generator())
    certain = torch.eye(10)[labels]
    torch.testing.assert_close(cross_entropy(scores, certain), cross_entropy(scores, labels))
    assert torch.equal(error_rate(scores, certain), error_rate(scores, labels))
    other = labels.roll(1, 1)
    mixed = 0.7 * certain + 0.3 * torch.eye(10)[other]
    expected = 0.7 * cross_entropy(scores, labels) + 0.3 * cross_entropy(scores, other)
    torch.testing.assert_close(cross_entropy(scores, mixed), expected)
    assert torch.equal(error_rate(scores, mixed), error_rate(scores, labels))


# --- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("randaugment:n=0", "augmentation randaugment: n is a number of operations, 1 or more; it is 0"),
        ("randaugment:m=0", "augmentation randaugment: m is a strength, from 1 to 30; it is 0"),
        ("randaugment:m=31", "augmentation randaugment: m is a strength, from 1 to 30; it is 31"),
        ("colorjitter:contrast=-1", "augmentation colorjitter: contrast is 0 or more; it is -1"),
        ("colorjitter:hue=0.6", "colorjitter: hue is a share of the circle of hues, from 0 to 0.5; it is 0.6"),
        ("colorjitter:brightness=0,contrast=0,saturation=0,hue=0", "every setting is 0, so it would change nothing"),
    ],
)
def test_wrong_settings_are_told(spec, message):
    with pytest.raises(ValueError, match=message):
        make_augmentations([spec])


def test_pixels_come_first(kornia):
    assert make_augmentations(["colorjitter", "randaugment", "mixup"])[1] == RandAugment()
    message = (
        "augmentation randaugment:m=3 changes pixels, before preprocessing, and crop what preprocessing makes of them: "
        r"it cannot come after that. Valid: colorjitter randaugment:m=3 crop flip\."
    )
    with pytest.raises(ValueError, match=message):
        make_augmentations(["colorjitter", "crop", "randaugment:m=3", "flip"])


@pytest.mark.parametrize(("spec", "shape", "message"), [
    ("randaugment", (2, 8, 8), "augmentation randaugment on images of 2 channels: .* 1 channel"),
    ("colorjitter", (4, 8, 8), "augmentation colorjitter on images of 4 channels: .* 1 channel"),
    ("randaugment", (3, 2, 8), "augmentation randaugment on images of 8 x 2 pixels: .* 3 x 3 pixels or more are valid"),
    ("colorjitter:brightness=0,contrast=0", (1, 8, 8), "changes nothing about images of one channel"),
])  # fmt: skip
def test_images_that_do_not_suit_are_told(kornia, spec, shape, message):
    (augmentation,) = make_augmentations([spec])
    with pytest.raises(ValueError, match=message):
        augmentation.draw(1, shape, generator())


def test_what_a_stream_must_know_is_told(kornia):
    with pytest.raises(ValueError, match=r"colorjitter changes pixels.* give the stream scale=data\.scale"):
        stream(0, augment=("colorjitter",), scale=None)
    with pytest.raises(ValueError, match=r"cutmix mixes labels.* give the stream num_classes=data\.num_classes"):
        stream(0, augment=("cutmix",), num_classes=None)


def test_names_and_settings_are_known_without_kornia_and_its_absence_is_told():
    """In a process where kornia cannot be found."""
    code = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "kornia":
            raise ModuleNotFoundError(name)
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "kornia" else found(name, package)
sys.meta_path.insert(0, Hidden())
from skipway.data.images.augment import AUGMENTATIONS, make_augmentations
assert {"randaugment", "colorjitter", "mixup", "cutmix"} <= set(AUGMENTATIONS)
make_augmentations(["mixup", "cutmix"])
for spec in ("randaugment:k=1", "randaugment:m=99", "randaugment", "colorjitter"):
    try:
        make_augmentations([spec])
    except ValueError as error:
        print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    no_setting, out_of_range, *missing = run.stdout.splitlines()
    assert "has no setting 'k'" in no_setting
    assert "m is a strength, from 1 to 30" in out_of_range
    assert missing == [
        f"augmentation {name} needs the package kornia: pip install 'skipway[kornia]'."
        for name in ("randaugment", "colorjitter")
    ]


def test_names_are_found_without_importing_kornia():
    code = "import sys; from skipway.data.images.augment import make_augmentations; make_augmentations(['mixup']); " \
           "assert 'kornia' not in sys.modules"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True)
