"""Where data comes from: the digits that scikit-learn ships, a local folder, or the Hugging Face Hub.

What decodes is imported by the functions that decode, so a data set that is in the cache opens without any of it.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from skipway.data.guard import check_folder, check_paths, visible
from skipway.data.holdout import hold_out, hold_out_exactly
from skipway.data.hub import HubName, commit_of, is_offline_by_choice, open_dataset, unreachable
from skipway.data.images import cache
from skipway.data.images.dataset import Images
from skipway.data.images.labelled import SourceData, Split, fingerprint
from skipway.data.source import SOURCES

DIGITS = "digits"
ALIASES = {
    "mnist": "ylecun/mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100:label=fine_label",  # its 100 classes; coarse_label has 20
}
WAYS = (
    f"'{DIGITS}' (ships with scikit-learn, works offline); a folder of parquet or image files (works offline); "
    f"a Hub name such as 'uoft-cs/cifar10' or 'owner/name:configuration'; or a short name: {', '.join(ALIASES)}; "
    "where a data set has several columns of class labels, ':label=COLUMN' behind it chooses one; "
    "a table, 'FILE.csv:target=COLUMN'; a text, 'FILE.txt:length=64'; data that are made, 'ring-transfer:n=16'; a data "
    "source of your own, where --plugin names its module"
)
_DIGITS_SEED = 0  # part of what "digits" is: another seed would be another data set


def load(
    source: str | os.PathLike[str], *, validation: float = 0.1, split_seed: int = 0, image_size: int | None = None
) -> Images:
    """Load a data set of labelled images, from the cache where it was decoded before.

    Args:
        source: `digits`; or a folder (parquet in the Hub's layout, or train/CLASS/FILE and test/CLASS/FILE); or a Hub
            name, `owner/name` or `owner/name:configuration`, or `mnist`, `cifar10` or `cifar100` for short. Behind a
            folder or a Hub name, `:label=COLUMN` chooses among several columns of class labels.
        validation: the share of train to hold out for validation, where the source has no validation split of its own.
        split_seed: decides which samples that share is.
        image_size: None for images of one size that memory holds, decoded once. A number S for images of any size, any
            number of them: they stay encoded, only names and labels are held, and what a net sees is S x S pixels, a
            random crop in training and the middle otherwise.

    Returns:
        uint8 splits. Those that the source gives are mapped from the cache's file and read when touched; with an
        `image_size`, see `skipway.data.images.encoded.Encoded`.

    Raises:
        ValueError: if the source is none of these, or its content breaks a rule; the message names split, row and rule.
        OSError: if the Hub cannot be reached, or the cache not written.
    """
    if not 0 < validation < 1:
        raise ValueError(
            f"validation={validation}: the share of train to hold out must lie between 0 and 1, such as 0.1."
        )
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size={image_size}: it is a number of pixels, 1 or more, such as 224.")
    name, given = _find(source, image_size)
    train, held = given.splits["train"], given.splits.get("validation")
    rule = "given by the source"
    if held is None:
        kept_index, held_index = hold_out(train.labels, validation, split_seed)
        train, held = train.select(kept_index), train.select(held_index)
        rule = f"{validation:g} of train, stratified, seed {split_seed}"
    return Images(
        name=name,
        classes=given.classes,
        scale=given.scale,
        fingerprint=given.fingerprint,
        train=train,
        validation=held,
        test=given.splits["test"],
        validation_rule=rule,
    )


def _find(source: str | os.PathLike[str], image_size: int | None) -> tuple[str, SourceData]:
    """The name of a source as a person would write it, and its content."""
    text = os.fspath(source)
    if text == DIGITS:
        if image_size is not None:
            raise ValueError(f"image_size={image_size} is for image files and rows; '{DIGITS}' are 8 x 8 as they are.")
        return text, cache.recall(cache.Key(DIGITS, DIGITS, f"seed {_DIGITS_SEED}"), read_digits)
    place, label = _parts(text)
    folder = Path(place).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        name = _with_label(folder.name, label)
        if image_size is not None:
            return name, stream_folder(folder, image_size, label)
        return name, cache.recall(_folder_key(folder, label), partial(read_folder, folder, label))
    place, usual_label = _parts(ALIASES.get(place, place))
    hub = HubName.parse(place)
    if hub is None or isinstance(source, os.PathLike):
        near = difflib.get_close_matches(text.partition(":")[0], [DIGITS, *ALIASES, *SOURCES], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no folder {text!r}, and it is no data set's name.{hint} Valid: {WAYS}.")
    return text, _from_hub(hub, label or usual_label, image_size)


def _parts(source: str) -> tuple[str, str | None]:
    """A source without `:label=COLUMN`, and that column."""
    place, _, label = source.partition(":label=")
    return place, label or None


def _with_label(place: str, label: str | None) -> str:
    return f"{place}:label={label}" if label else place


def read_digits() -> SourceData:
    """scikit-learn's 1,797 digits, 8 x 8, values 0 to 16: 1,257 train, 180 validation, 360 test, stratified."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8)[:, None]
    everything = Split(images.contiguous(), torch.from_numpy(bunch.target).to(torch.int64))
    rest_index, test_index = hold_out_exactly(everything.labels, 360, _DIGITS_SEED)
    rest = everything.select(rest_index)
    train_index, validation_index = hold_out_exactly(rest.labels, 180, _DIGITS_SEED)
    splits = {
        "train": rest.select(train_index),
        "validation": rest.select(validation_index),
        "test": everything.select(test_index),
    }
    classes, scale = tuple(str(name) for name in bunch.target_names), 16.0
    return SourceData(classes, scale, splits, fingerprint(classes, scale, splits))


def read_folder(folder: Path, label: str | None = None) -> SourceData:
    """Decode a folder that `datasets.load_dataset` understands; `label`: which of several label columns."""
    from skipway.data.images.decode import decode

    # Its intermediate copy is of no use once the images are decoded, and ours is the one that watches for changes.
    with tempfile.TemporaryDirectory(dir=cache.root(), ignore_cleanup_errors=True) as scratch:
        dataset = _open_folder(folder, scratch)
        with _about(str(folder)):
            return decode(dataset, label)


def stream_folder(folder: Path, image_size: int, label: str | None = None) -> SourceData:
    """Find the images of a folder and leave them encoded; `label`: which of several label columns."""
    from skipway.data.images.folder import find_files
    from skipway.data.images.streamed import from_dataset, from_files

    with _about(str(folder)):
        found = find_files(folder)
        if found and label is None:
            return from_files(found, image_size)
    # Rows are read at random, which parquet is not made for: the copy that `datasets` makes is, and it is kept.
    cache.check_writable()
    dataset = _open_folder(folder, str(cache.root() / "datasets"))
    with _about(str(folder)):
        return from_dataset(dataset, image_size, label)


def _open_folder(folder: Path, copy: str) -> Any:
    """What `datasets` makes of a folder; its copy of the rows lies in the folder `copy`."""
    from datasets import load_dataset

    check_folder(folder)
    try:
        with _no_progress_bars():
            dataset = load_dataset(str(folder), cache_dir=copy)
    except Exception as error:  # datasets raises many kinds, and they are about the folder
        raise ValueError(
            f"{folder} cannot be read as a data set: {error} Valid: parquet files in the Hub's layout "
            "(train-*.parquet, test-*.parquet), or image files as train/CLASS/FILE and test/CLASS/FILE."
        ) from error
    with _about(str(folder)):
        check_paths(dataset, folder, copy)
    return dataset


@contextmanager
def _about(source: str) -> Iterator[None]:
    """What is wrong with the content of a source begins with its name."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _folder_key(folder: Path, label: str | None) -> cache.Key:
    """A folder's state is every file's name, size and time of change; hidden files are not data."""
    state = []
    for path in visible(folder):
        if path.is_file():
            about = path.stat()
            state.append(f"{path.relative_to(folder).as_posix()} {about.st_size} {about.st_mtime_ns}")
    return cache.Key(folder.name, _with_label(f"folder {folder}", label), "\n".join(state))


def _from_hub(hub: HubName, label: str | None, image_size: int | None) -> SourceData:
    """A Hub data set at its present commit; where the Hub cannot be asked, as it was last decoded here."""
    asked = _with_label(str(hub), label)
    origin = f"hub {asked}"
    try:
        commit = commit_of(hub)
    except Exception as error:  # the HTTP library's own kinds, which differ between its versions
        held = cache.latest(cache.Key(asked, origin, "")) if image_size is None else None
        if held is not None:
            return held
        if not is_offline_by_choice():
            raise unreachable(asked, error) from error
        commit = None  # load_dataset can still find what the Hugging Face cache holds
    read = partial(read_hub, hub, commit, label, image_size)
    return read() if image_size is not None else cache.recall(cache.Key(asked, origin, commit or ""), read)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Nothing is downloaded from a folder, so there is nothing to wait for and show."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()


def read_hub(hub: HubName, commit: str | None, label: str | None = None, image_size: int | None = None) -> SourceData:
    """A Hub data set at a commit (None: whichever is at hand); `label`: which of several label columns.

    Decoded, or with an `image_size` left encoded where `datasets` keeps it.
    """
    from datasets import config as config_of_datasets
    from huggingface_hub import constants

    from skipway.data.images.decode import decode
    from skipway.data.images.streamed import from_dataset

    dataset = open_dataset(hub, commit)
    with _about(str(hub)):
        check_paths(dataset, constants.HF_HUB_CACHE, config_of_datasets.HF_DATASETS_CACHE)
        return decode(dataset, label) if image_size is None else from_dataset(dataset, image_size, label)
