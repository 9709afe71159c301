"""One door to all data: whatever names or holds them becomes a `Data`."""

from __future__ import annotations

from typing import Any

from skipway.data.dataset import Data
from skipway.data.images.sources import load as load_images


def load(source: Any, *, validation: float = 0.1, split_seed: int = 0, image_size: int | None = None) -> Data:
    """Load data, from the cache where they were read before.

    Args:
        source: `digits`; or a folder (parquet in the Hub's layout, or train/CLASS/FILE and test/CLASS/FILE); or a Hub
            name, `owner/name` or `owner/name:configuration`, or `mnist`, `cifar10` or `cifar100` for short. Behind a
            folder or a Hub name, `:label=COLUMN` chooses among several columns of class labels. A `Data` comes back as
            it is.
        validation: the share of train to hold out for validation, where the source has no validation split of its own.
        split_seed: decides which samples that share is.
        image_size: None for images of one size that memory holds, decoded once. A number S for images of any size, any
            number of them: they stay encoded, only names and labels are held, and what a net sees is S x S pixels, a
            random crop in training and the middle otherwise.

    Raises:
        ValueError: if the source is none of these, or its content breaks a rule; the message names split, row and rule.
        OSError: if the Hub cannot be reached, or the cache not written.
    """
    if isinstance(source, Data):
        return source
    return load_images(source, validation=validation, split_seed=split_seed, image_size=image_size)
