"""What people hold data in, read once: pairs of arrays, scikit-learn's bunches, map-style data sets, loaders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from skipway.batch.trees import Tree, leaves, tree_map
from skipway.data.arrays.raw import Raw
from skipway.data.arrays.tensors import tensors_of, text_of
from skipway.data.rounding import rounded
from skipway.data.samples import Samples
from skipway.data.splits import NAMES

FORMS = (
    "(x, y): inputs and targets, each an array, a tensor, or a tuple or dictionary of them; a bunch of scikit-learn's; "
    "a list of pairs (x, y); a map-style torch Dataset or a DataLoader of one; or a dictionary of such, "
    "{'train': ..., 'test': ...}"
)
Pair = tuple[Any, Any]


def raw_of(source: Any) -> Raw | None:
    """Arrays as they were given; None where this is no form of them.

    Of a `DataLoader` the data set and its `collate_fn` are used: the order of samples, and what a batch is, belong to
    the training. Every item is read once, so what an item draws at random is drawn once.

    Raises:
        ValueError: if it is one, and its content breaks a rule; the message says which.
    """
    splits = source if _holds_splits(source) else {"train": source}
    pairs = {name: _pair(splits[name]) for name in NAMES if name in splits}
    if any(pair is None for pair in pairs.values()):
        return None
    return _raw({name: pair for name, pair in pairs.items() if pair}, _names(splits["train"]))


def _holds_splits(source: Any) -> bool:
    return isinstance(source, Mapping) and "train" in source and not set(source) - set(NAMES)


def _pair(source: Any) -> Pair | None:
    """Inputs and targets of one split."""
    if isinstance(source, tuple) and len(source) == 2:
        return source
    if isinstance(source, Mapping):
        return (source["data"], source["target"]) if {"data", "target"} <= set(source) else None
    if isinstance(source, DataLoader):
        _check_map_style(source.dataset)
        return _collated(source.dataset, default_collate if source.batch_size is None else source.collate_fn)
    if isinstance(source, list):
        return _collated(source, default_collate) if all(isinstance(item, tuple) for item in source[:1]) else None
    if isinstance(source, Dataset):
        _check_map_style(source)
        return _collated(source, default_collate)
    return None


def _check_map_style(dataset: Any) -> None:
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise ValueError(
            f"{type(dataset).__name__} has no samples by number: a data set of fixed splits is needed, with "
            "__getitem__ and __len__."
        )


def _collated(dataset: Any, collate: Callable[[list[Any]], Any]) -> Pair:
    items = [dataset[place] for place in range(len(dataset))]
    try:
        inputs, targets = _without_lists(collate(items))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"the items of this {type(dataset).__name__} do not make a batch of pairs (x, y): {error}. Every item must "
            "be a pair, all of one shape: of tensors, arrays, numbers, or tuples or dictionaries of them. Give images "
            "a transform that makes tensors, and texts of different length a DataLoader with a collate_fn that pads."
        ) from error
    return inputs, targets


def _without_lists(tree: Tree) -> Tree:
    """`default_collate` makes lists of tuples, and leaves text a list."""
    if isinstance(tree, Mapping):
        return {name: _without_lists(part) for name, part in tree.items()}
    if isinstance(tree, tuple | list) and not all(isinstance(part, str) for part in tree):
        return tuple(_without_lists(part) for part in tree)
    return tree


def _names(source: Any) -> tuple[str, ...]:
    """Names of classes, where a bunch or a data set has them for its whole numbers."""
    dataset = source.dataset if isinstance(source, DataLoader) else source
    found = dataset.get("target_names") if isinstance(dataset, Mapping) else getattr(dataset, "classes", None)
    return () if found is None or isinstance(found, str) else tuple(str(name) for name in found)


def _raw(pairs: Mapping[str, Pair], names: tuple[str, ...]) -> Raw:
    inputs = [tensors_of(x, f"{split} inputs") for split, (x, _) in pairs.items()]
    targets, names = _targets({split: y for split, (_, y) in pairs.items()}, names)
    sizes = {}
    for split, x, y in zip(pairs, inputs, targets, strict=True):
        sizes[split] = _size(split, x, y)
    together = (_joined("inputs", pairs, inputs), _joined("targets", pairs, targets))
    return Raw(Samples(*(tree_map(_kept, tree) for tree in together)), sizes, names)


def _kept(leaf: Tensor) -> Tensor:
    return rounded(leaf) if leaf.is_floating_point() else leaf


def _targets(raw: Mapping[str, Any], names: tuple[str, ...]) -> tuple[list[Tree], tuple[str, ...]]:
    """Targets of each split, and the names of classes where they are places among such."""
    texts = [text_of(y) for y in raw.values()]
    found = [text for text in texts if text is not None]
    if len(found) == len(texts):
        classes, places = np.unique(np.concatenate(found), return_inverse=True)
        return list(torch.split(torch.from_numpy(places), [len(text) for text in found])), tuple(map(str, classes))
    trees = [tensors_of(y, f"{split} targets") for split, y in raw.items()]
    return trees, names if all(_are_places(tree, len(names)) for tree in trees) else ()


def _are_places(tree: Tree, count: int) -> bool:
    """Whether targets are whole numbers from 0 to below a count."""
    if not isinstance(tree, Tensor) or tree.dim() != 1 or tree.is_floating_point() or tree.dtype == torch.bool:
        return False
    return bool(((tree >= 0) & (tree < count)).all())


def _size(split: str, inputs: Tree, targets: Tree) -> int:
    """How many samples a split has."""
    counts = [len(leaf) for tree in (inputs, targets) for leaf in leaves(tree)]
    if len(set(counts)) != 1:
        raise ValueError(
            f"{split}: every array's first dimension counts the samples; those of inputs and targets are "
            f"{', '.join(map(str, counts))}."
        )
    return counts[0]


def _joined(what: str, splits: Sequence[str] | Mapping[str, Any], trees: Sequence[Tree]) -> Tree:
    """One tree of the splits' trees."""
    if len(trees) == 1:
        return trees[0]
    forms = [tree_map(_form, tree) for tree in trees]
    for split, form in zip(splits, forms, strict=True):
        if form != forms[0]:
            raise ValueError(f"{what} of train are {forms[0]} and of {split} {form}: give all splits the same form.")
    parts = [iter(leaves(tree)) for tree in trees]
    return tree_map(lambda _: torch.cat([next(part) for part in parts]), trees[0])


def _form(leaf: Tensor) -> tuple[Any, ...]:
    kind = (
        torch.float32 if leaf.is_floating_point() else leaf.dtype
    )  # float64 of one split goes with float32 of another
    return (str(kind), *leaf.shape[1:])
