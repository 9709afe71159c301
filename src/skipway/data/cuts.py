"""How samples are cut into batches: rules that streams of all kinds of data hold to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skipway.data.part import Part


def check_stream(size: int, batch_size: int, seeds: Sequence[int], part: Part) -> None:
    """Hold a stream of training batches to what there is.

    Raises:
        ValueError: if there is no seed, the batch size is not between 1 and the size of the split, or there are more
            parts than samples in a batch.
    """
    if not 1 <= batch_size <= size:
        raise ValueError(
            f"batch size {batch_size} on a split of {size} samples. A batch is one sample or more, at "
            f"most the whole split: 1 to {size} are valid."
        )
    if not seeds:
        raise ValueError("no seed was given; a stream has one replica for each seed, such as seeds=[0].")
    if part.count > batch_size:
        raise ValueError(
            f"a batch of {batch_size} for {part.count} processes leaves some without a sample. The batch is that "
            f"of all processes together: {part.count} or more are valid, or {batch_size} processes or fewer."
        )


def check_saved(state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Hold a saved stream to what it must have in common with the one that goes on with it.

    Raises:
        ValueError: if they differ.
    """
    for name, value in about.items():
        if state[name] != value:
            raise ValueError(f"the saved stream has {name} {state[name]}, this one {value}; they must be equal.")


def slices(size: int, batch_size: int, part: Part) -> list[slice]:
    """The batches of one pass in order over a part of a split; the last may be smaller.

    Raises:
        ValueError: if the batch size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size}; a batch holds at least 1 sample.")
    share = part.of(size)
    return [slice(first, min(first + batch_size, share.stop)) for first in range(share.start, share.stop, batch_size)]
