"""Batches: every stream's order follows from its seed, each sample once a permutation, and a stream goes on exactly."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from skipway.data.images.augment import make_augmentations
from skipway.data.images.batches import BatchStream, batches
from skipway.data.images.labelled import Split
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.sources import load
from skipway.data.order import SampleOrder
from skipway.data.part import Part

SIZE = 10


@pytest.fixture
def numbered() -> Split:
    """Sample i is an image of the value i, labelled i."""
    values = torch.arange(SIZE)
    return Split(values.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 3, 4).contiguous(), values)


@pytest.fixture
def plain() -> Preprocess:
    """Leaves pixels as they are."""
    return Preprocess("channel", 1.0, torch.zeros(2), torch.ones(2))


def order(stream: BatchStream, count: int) -> Tensor:
    """The labels of the next `count` batches, (R, count * B)."""
    return torch.cat([y for _, y in itertools.islice(stream, count)], 1)


@pytest.mark.parametrize("seeds", [[3], [0, 1, 2], [1, 0, 1, 1]])
def test_shapes_and_labels_belong_together(numbered, plain, seeds):
    stream = BatchStream(numbered, plain, batch_size=4, seeds=seeds)
    for x, y in itertools.islice(stream, 7):
        assert x.shape == (len(seeds), 4, 2, 3, 4)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert torch.equal(x, y.view(-1, 4, 1, 1, 1).expand_as(x).float())


@pytest.mark.parametrize("batch_size", [1, 3, 4, SIZE])
def test_every_permutation_holds_every_sample_once(numbered, plain, batch_size):
    stream = BatchStream(numbered, plain, batch_size=batch_size, seeds=[0, 7])
    seen = order(stream, SIZE).unflatten(1, (batch_size, SIZE))  # batches straddle the permutations
    assert torch.equal(seen.sort(-1).values, torch.arange(SIZE).expand_as(seen))
    if batch_size > 1:
        assert not torch.equal(seen[:, 0], seen[:, 1])


def test_an_order_follows_from_its_seed_alone(numbered, plain):
    def stream(*seeds: int) -> BatchStream:
        return BatchStream(numbered, plain, batch_size=3, seeds=seeds)

    torch.manual_seed(1)
    together = order(stream(5, 2, 5, 0), 9)
    torch.manual_seed(2)
    for row, seed in enumerate((5, 2, 5, 0)):
        assert torch.equal(together[row], order(stream(seed), 9)[0])
    assert not torch.equal(together[0], together[1])


def test_a_stream_leaves_the_global_generator_alone(numbered, plain):
    before = torch.get_rng_state()
    order(BatchStream(numbered, plain, batch_size=3, seeds=[0, 1]), 9)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("drawn", [0, 1, 5, 10])
def test_a_stream_goes_on_exactly(numbered, plain, drawn, tmp_path):
    stream = BatchStream(numbered, plain, batch_size=3, seeds=[4, 1, 4])
    order(stream, drawn) if drawn else None
    torch.save(stream.state_dict(), tmp_path / "state.pt")
    expected = order(stream, 12)
    resumed = BatchStream(numbered, plain, batch_size=3, seeds=[4, 1, 4])
    order(resumed, 2)  # what it did before must not matter
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(order(resumed, 12), expected)


def test_a_state_is_a_copy(numbered, plain):
    stream = BatchStream(numbered, plain, batch_size=3, seeds=[0])
    order(stream, 1)
    state = stream.state_dict()
    first = order(stream, 8)
    stream.load_state_dict(state)
    assert torch.equal(order(stream, 8), first)
    stream.load_state_dict(state)
    assert torch.equal(order(stream, 8), first)


def test_another_streams_state_is_refused(numbered, plain):
    state = BatchStream(numbered, plain, batch_size=3, seeds=[0, 1]).state_dict()
    with pytest.raises(ValueError, match=r"has seeds \[0, 1\], this one \[1, 0\]"):
        BatchStream(numbered, plain, batch_size=3, seeds=[1, 0]).load_state_dict(state)
    with pytest.raises(ValueError, match="has batch_size 3, this one 4"):
        BatchStream(numbered, plain, batch_size=4, seeds=[0, 1]).load_state_dict(state)
    fewer = numbered.select(torch.arange(5))
    with pytest.raises(ValueError, match="has samples 10, this one 5"):
        BatchStream(fewer, plain, batch_size=3, seeds=[0, 1]).load_state_dict(state)


@pytest.mark.parametrize("batch_size", [0, -1, SIZE + 1])
def test_impossible_batch_sizes_are_refused(numbered, plain, batch_size):
    with pytest.raises(ValueError, match=rf"batch size {batch_size} on a split of 10 samples.*1 to 10 are valid"):
        BatchStream(numbered, plain, batch_size=batch_size, seeds=[0])


def test_a_stream_needs_a_seed(numbered, plain):
    with pytest.raises(ValueError, match="no seed was given"):
        BatchStream(numbered, plain, batch_size=3, seeds=[])


def test_training_batches_are_the_preprocessed_images():
    data = load("digits")
    prepared = Preprocess.fit(data, "pixel")
    known = {tuple(image): int(label) for image, label in zip(
        prepared(data.train.images).flatten(1).tolist(), data.train.labels, strict=True)}  # fmt: skip
    x, y = next(BatchStream(data.train, prepared, batch_size=128, seeds=[0, 1, 0]))
    assert torch.equal(x[0], x[2])
    for image, label in zip(x.flatten(0, 1).flatten(1).tolist(), y.flatten().tolist(), strict=True):
        assert known[tuple(image)] == label


# --- with augmentations ----------------------------------------------------------------------------------------------

AUGMENT = make_augmentations(["crop:pad=2", "flip", "cutout:size=3"])


def digits_stream(*seeds: int, augment: tuple = AUGMENT, batch_size: int = 100) -> BatchStream:
    data = load("digits")
    prepared = Preprocess.fit(data, "pixel")
    return BatchStream(data.train, prepared, batch_size=batch_size, seeds=seeds, augment=augment)


def test_augmentations_leave_the_order_alone():
    for (x, y), (plain_x, plain_y) in itertools.islice(
        zip(digits_stream(0, 1), digits_stream(0, 1, augment=()), strict=True), 30
    ):
        assert torch.equal(y, plain_y)
        assert x.shape == plain_x.shape
        assert not torch.equal(x, plain_x)


def test_draws_are_not_those_of_the_orders_own_seed():
    (flip,) = make_augmentations(["flip"])

    def draw(count, generator):
        return flip.draw(count, (1, 8, 8), generator)

    _, drawn = SampleOrder(99, [3], draws=[draw]).take(99)
    assert not torch.equal(drawn[0], draw(99, torch.Generator().manual_seed(3)))


def test_a_flip_of_every_image_is_every_image_flipped():
    always = make_augmentations(["flip:p=1"])
    for (x, _), (plain_x, _) in itertools.islice(
        zip(digits_stream(3, augment=always), digits_stream(3, augment=()), strict=True), 15
    ):
        assert torch.equal(x, plain_x.flip(-1))


def test_a_replica_is_augmented_alike_in_any_stack():
    together = [x for x, _ in itertools.islice(digits_stream(5, 2, 5, 0), 15)]  # into the second permutation
    for row, seed in enumerate((5, 2, 5, 0)):
        alone = [x for x, _ in itertools.islice(digits_stream(seed), 15)]
        assert all(torch.equal(x[row], y[0]) for x, y in zip(together, alone, strict=True))
    assert not torch.equal(together[0][0], together[0][1])


def test_a_samples_draws_differ_between_permutations():
    data = load("digits")
    stream = digits_stream(0, augment=make_augmentations(["flip"]), batch_size=len(data.train))
    both = [x[0][y[0].argsort(stable=True)] for x, y in itertools.islice(stream, 2)]
    assert not torch.equal(*both)


@pytest.mark.parametrize("drawn", [0, 5, 12, 13])
def test_an_augmented_stream_goes_on_exactly(drawn, tmp_path):
    stream = digits_stream(4, 1, 4)
    list(itertools.islice(stream, drawn))
    torch.save(stream.state_dict(), tmp_path / "state.pt")
    expected = list(itertools.islice(stream, 30))  # through the third permutation
    resumed = digits_stream(4, 1, 4)
    list(itertools.islice(resumed, 2))  # what it did before must not matter
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for (x, y), (old_x, old_y) in zip(itertools.islice(resumed, 30), expected, strict=True):
        assert torch.equal(x, old_x)
        assert torch.equal(y, old_y)


def test_another_augmentations_state_is_refused():
    state = digits_stream(0, augment=make_augmentations(["crop:pad=2"])).state_dict()
    with pytest.raises(ValueError, match=r"has augment \['Crop\(pad=2\)'\], this one \[\]; they must be equal"):
        digits_stream(0, augment=()).load_state_dict(state)


def test_images_too_small_for_an_augmentation_are_refused_at_once():
    with pytest.raises(ValueError, match=r"crop:pad=8 on images of 8 x 8 pixels .*1 to 7 are valid"):
        digits_stream(0, augment=make_augmentations(["crop:pad=8"]))


def test_a_saved_stream_is_small_and_the_same_size_at_every_step(tmp_path):
    stream, sizes = digits_stream(0), []
    for _ in range(14):
        next(stream)
        torch.save(stream.state_dict(), tmp_path / "state.pt")
        sizes.append((tmp_path / "state.pt").stat().st_size)
    assert max(sizes) < 20_000


# --- parts: several processes, one order -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [0, 1, 5, 7, 12])
def test_parts_are_the_whole_in_order_and_nearly_equal(count, size):
    shares = [list(range(size))[Part(index, count).of(size)] for index in range(count)]
    assert list(itertools.chain(*shares)) == list(range(size))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("index", "count"), [(0, 0), (-1, 2), (2, 2)])
def test_a_part_is_one_of_those_that_there_are(index, count):
    with pytest.raises(ValueError, match=f"part {index} of {count}: parts are counted from 0"):
        Part(index, count)


def digits_parts(count: int, *seeds: int) -> list[BatchStream]:
    data = load("digits")
    prepared = Preprocess.fit(data, "pixel")
    return [
        BatchStream(data.train, prepared, batch_size=100, seeds=seeds, augment=AUGMENT, part=Part(index, count))
        for index in range(count)
    ]


def together(streams: list[BatchStream]) -> tuple[Tensor, Tensor]:
    """The next batch of all parts, put side by side."""
    xs, ys = zip(*(next(stream) for stream in streams), strict=True)
    return torch.cat(xs, 1), torch.cat(ys, 1)


@pytest.mark.parametrize("count", [2, 3, 100])
def test_the_parts_of_a_batch_are_the_batch(count):
    streams, whole = digits_parts(count, 4, 1, 4), digits_stream(4, 1, 4)
    for _ in range(14):  # into the second permutation
        x, y = next(whole)
        part_x, part_y = together(streams)
        assert torch.equal(part_x, x)
        assert torch.equal(part_y, y)


def test_a_stream_saved_by_two_goes_on_in_one_and_the_other_way_round():
    two, one = digits_parts(2, 3), digits_stream(3)
    for _ in range(5):
        together(two)
        next(one)
    state = two[0].state_dict()
    assert torch.equal(state["generators"], two[1].state_dict()["generators"])
    expected = [next(one) for _ in range(10)]
    resumed = digits_stream(3)
    resumed.load_state_dict(state)
    for stream in (two := digits_parts(2, 3)):
        stream.load_state_dict(state)
    for x, y in expected:
        for got_x, got_y in (next(resumed), together(two)):
            assert torch.equal(got_x, x)
            assert torch.equal(got_y, y)


def test_more_parts_than_samples_in_a_batch_are_refused(numbered, plain):
    with pytest.raises(ValueError, match="a batch of 3 for 4 processes leaves some without .* 4 or more are valid"):
        BatchStream(numbered, plain, batch_size=3, seeds=[0], part=Part(1, 4))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 11])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_parts_of_an_evaluation_are_every_sample_once(numbered, plain, count, batch_size):
    labels = [y for index in range(count) for _, y in batches(numbered, plain, batch_size, part=Part(index, count))]
    assert torch.cat(labels).tolist() == list(range(SIZE))
    assert all(1 <= len(y) <= batch_size for y in labels)


# --- evaluation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 5, 100])
def test_evaluation_goes_through_once_in_order(numbered, plain, batch_size):
    parts = list(batches(numbered, plain, batch_size))
    assert all(len(y) == batch_size for _, y in parts[:-1])
    assert torch.equal(torch.cat([y for _, y in parts]), numbered.labels)
    assert torch.equal(torch.cat([x for x, _ in parts]), plain(numbered.images))


def test_evaluation_needs_a_batch_size(numbered, plain):
    with pytest.raises(ValueError, match="at least 1 sample"):
        next(batches(numbered, plain, 0))
