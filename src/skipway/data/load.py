"""One door to all data: whatever names or holds them becomes a `Data`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from skipway.data import kept
from skipway.data.address import Address
from skipway.data.arrays import dataset as arrays
from skipway.data.arrays import store
from skipway.data.arrays.given import FORMS, raw_of
from skipway.data.dataset import Data, Request
from skipway.data.images.sources import load as load_images
from skipway.data.tables import frames
from skipway.data.tables.load import is_table
from skipway.data.tables.load import load as load_table


def load(
    source: Any,
    *,
    target: str | Iterable[str] | None = None,
    drop: str | Iterable[str] | None = None,
    task: str | None = None,
    validation: float = 0.1,
    split_seed: int = 0,
    image_size: int | None = None,
) -> Data:
    """Load data, from the cache where they were read before.

    What is held in memory is written into the cache once, and gets a name by which any process loads it again.

    Args:
        source: `digits`; or a folder (parquet in the Hub's layout, or train/CLASS/FILE and test/CLASS/FILE); or a Hub
            name, `owner/name` or `owner/name:configuration`, or `mnist`, `cifar10` or `cifar100` for short. Behind a
            folder or a Hub name, `:label=COLUMN` chooses among several columns of class labels. Or ``(x, y)``, inputs
            and targets in memory, and other forms of them: see `skipway.data.arrays.given`. A `Data` comes back as it
            is.
        target: of a table, the column to be learned, or several; behind a name or a path, ``:target=A+B``.
        drop: of a table, columns that do not count; behind a name or a path, ``drop=C``.
        task: a specification of the task that targets are for, where that is not the usual one.
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
    if not 0 < validation < 1:
        raise ValueError(
            f"validation={validation}: the share of train to hold out must lie between 0 and 1, such as 0.1."
        )
    address = Address.parse(name_of(source)).with_options(target=target, drop=drop)
    request = Request(data=str(address), task=task, validation=validation, split_seed=split_seed, image_size=image_size)
    if is_table(address):
        _check_no_images(request)
        data: Data = load_table(address, request)
    elif kept.is_name(address.place):
        _check_no_images(request)
        data = arrays.load(address.place, request)
    else:
        data = load_images(source, validation=validation, split_seed=split_seed, image_size=image_size)
    return replace(data, request=request)


def name_of(source: Any) -> str:
    """How a config names data: a path or a name as it is; what is held in memory is kept in the cache for it.

    Raises:
        ValueError: if nothing can name it.
        OSError: if the cache cannot be written.
    """
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, Data):
        if source.request is None:
            raise ValueError(f"{source.name}: these data were made by hand, and no process could load them again.")
        return source.request.data
    frame = frames.keep(source)
    if frame is not None:
        return str(frame)
    raw = raw_of(source)
    if raw is None:
        raise ValueError(f"an object of type {type(source).__name__} is no data. Valid: a name or a path; {FORMS}.")
    return store.keep(raw)


def settings_of(source: Any, **given: Any) -> dict[str, Any]:
    """The fields of a config that name data and say how they are loaded.

    Args:
        source: as `load` takes it.
        given: some of those fields, as they were given beside it; None where they were not.

    Raises:
        ValueError: as `name_of`; and if the source is a `Data` that was loaded otherwise than is given.
    """
    if not isinstance(source, Data) or source.request is None:
        return {"data": name_of(source), **given}
    told = asdict(source.request)
    for name, value in given.items():
        if value is not None and value != told[name]:
            raise ValueError(
                f"these data were loaded with {name}={told[name]}, and {name}={value} is given: load them with that."
            )
    return told


def _check_no_images(request: Request) -> None:
    if request.image_size is not None:
        raise ValueError(f"image_size={request.image_size} is for images; {request.data} holds none.")
