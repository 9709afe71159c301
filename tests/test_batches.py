"""Batches: every stream's order follows from its seed, each sample once a permutation, and a stream goes on exactly."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from skipway.data.batches import BatchStream, batches
from skipway.data.preprocess import Preprocess
from skipway.data.sources import load
from skipway.data.splits import Split

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


@pytest.mark.parametrize("batch_size", [1, 3, 5, 100])
def test_evaluation_goes_through_once_in_order(numbered, plain, batch_size):
    parts = list(batches(numbered, plain, batch_size))
    assert all(len(y) == batch_size for _, y in parts[:-1])
    assert torch.equal(torch.cat([y for _, y in parts]), numbered.labels)
    assert torch.equal(torch.cat([x for x, _ in parts]), plain(numbered.images))


def test_evaluation_needs_a_batch_size(numbered, plain):
    with pytest.raises(ValueError, match="at least 1 sample"):
        next(batches(numbered, plain, 0))
