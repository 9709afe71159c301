"""One door to all data: whatever names or holds them becomes a `Data`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

import skipway.data.made  # noqa: F401  (sources of ours have their names from here on)
from skipway.data.address import Address
from skipway.data.arrays.dataset import load as load_arrays
from skipway.data.arrays.given import FORMS
from skipway.data.arrays.store import keep as keep_arrays
from skipway.data.dataset import Data, Request
from skipway.data.images.sources import load as load_images
from skipway.data.sequences.corpus import keep as keep_strings
from skipway.data.sequences.corpus import load as load_corpus
from skipway.data.source import canonical, is_source, make_source


def load(
    source: Any,
    *,
    target: str | Iterable[str] | None = None,
    drop: str | Iterable[str] | None = None,
    text: str | None = None,
    length: int | None = None,
    unit: str | None = None,
    task: str | None = None,
    validation: float = 0.1,
    split_seed: int = 0,
    image_size: int | None = None,
) -> Data:
    """Load data, from the cache where they were read before.

    What is held in memory is written into the cache once, and gets a name by which any process loads it again. Where
    there is no test split, a fifth of the samples is held out as one: `skipway.data.splits`.

    Args:
        source: One of these:

            - Labelled images: `digits`; a folder (parquet in the Hub's layout, or train/CLASS/FILE and
              test/CLASS/FILE); a Hub name, `owner/name` or `owner/name:configuration`, or `mnist`, `cifar10` or
              `cifar100` for short. Behind a folder or a Hub name, `:label=COLUMN` chooses among several columns of
              class labels.
            - A table: a CSV or parquet file, a folder with train.csv and test.csv, a Hub name; or a DataFrame.
            - A corpus: a text file, a folder with train.txt and test.txt, or a list of strings.
            - ``(x, y)``, inputs and targets in memory, and other forms of them: `skipway.data.arrays.given`.
            - A source of ours, `ring-transfer:n=16` (`skipway.data.made`), or of your own: `skipway.data.source`.
            - A `Data`, which comes back as it is.
        target: of a table, the column to be learned, or several. This and the next four may stand behind a path or a
            name, which is how configs have them: ``table.csv:target=A+B,drop=C``.
        drop: of a table, columns that do not count.
        text: of a table, the one column of text to learn from, in tokens.
        length: of text, tokens of a sample.
        unit: of text, what a token is: characters or words.
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
    if isinstance(source, str) and is_source(source):
        if target or drop or text or length or unit:
            raise ValueError(f"{source} is a data source, whose settings stand behind its name: NAME:key=value.")
        return _of_source(source, task=task, validation=validation, split_seed=split_seed, image_size=image_size)
    if not 0 < validation < 1:
        raise ValueError(
            f"validation={validation}: the share of train to hold out must lie between 0 and 1, such as 0.1."
        )
    address = Address.parse(name_of(source)).with_options(target=target, drop=drop, text=text, length=length, unit=unit)
    request = Request(data=str(address), task=task, validation=validation, split_seed=split_seed, image_size=image_size)
    loader = next((loader for belongs, loader in _LOADERS if belongs(address)), None)
    if loader is None:
        data: Data = load_images(source, validation=validation, split_seed=split_seed, image_size=image_size)
    elif image_size is not None:
        raise ValueError(f"image_size={image_size} is for images; {address} holds none.")
    else:
        data = loader(address, request)
    return replace(data, request=request)


def _of_source(spec: str, **settings: Any) -> Data:
    """What a source gives, split and judged as it is asked for here."""
    spec = canonical(spec)
    given = make_source(spec).load()
    if not isinstance(given, Data) or given.request is not None:
        given = load(name_of(given), **settings)
    data: Data = replace(given, name=spec, request=Request(data=spec, **settings))
    return data


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
    for keep in _KEEPERS:
        if name := keep(source):
            return name
    raise ValueError(
        f"an object of type {type(source).__name__} is no data. Valid: a name or a path; a DataFrame, with "
        f"target=COLUMN; a list of strings; {FORMS}."
    )


def settings_of(source: Any, **given: Any) -> dict[str, Any]:
    """The fields of a config that name data and say how they are loaded.

    Args:
        source: as `load` takes it.
        given: some of those fields, as they were given beside it; None where they were not.

    Raises:
        ValueError: as `name_of`; and if the source is a `Data` that was loaded otherwise than is given.
    """
    if not isinstance(source, Data) or source.request is None:
        return {"data": name_of(source), **{name: value for name, value in given.items() if value is not None}}
    told = asdict(source.request)
    for name, value in given.items():
        usual = source.task if name == "task" else None  # what is said without need is no other setting
        if value not in (None, usual, told[name]):
            raise ValueError(
                f"these data were loaded with {name}={told[name]}, and {name}={value} is given: load them with that."
            )
    return told


# Arrow is imported where a table is read.


def _load_texts(address: Address, request: Request) -> Data:
    if "text" not in address.options:
        return load_corpus(address, request)
    from skipway.data.sequences.texts import load as load_texts

    return load_texts(address, request)


def _load_table(address: Address, request: Request) -> Data:
    from skipway.data.tables.load import load as load_table

    return load_table(address, request)


def _keep_frame(source: Any) -> str | None:
    from skipway.data.tables.frames import keep

    return keep(source)


# The first kind that an address belongs to reads it; what belongs to none is the name of a data set of images.
_LOADERS: tuple[tuple[Callable[[Address], bool], Callable[[Address, Request], Data]], ...] = (
    (lambda address: address.is_text, _load_texts),
    (lambda address: address.is_table, _load_table),
    (lambda address: address.is_arrays, load_arrays),
)
# The first of these that knows a form of data in memory keeps it in the cache, and tells its name there.
_KEEPERS: tuple[Callable[[Any], str | None], ...] = (keep_strings, _keep_frame, keep_arrays)
