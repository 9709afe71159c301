"""Arrays as they were given, before anything is held out: this is what the cache keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from skipway.batch.trees import Tree, leaves, tree_map
from skipway.data.fingerprint import fingerprint
from skipway.data.samples import Samples


@dataclass(frozen=True, eq=False)
class Raw:
    """Samples of all splits, one after the other."""

    samples: Samples
    sizes: Mapping[str, int]
    """How many are of which split: train, and validation and test where they were given."""
    names: tuple[str, ...] = ()
    """Of classes: then targets are places among them."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of them by name."""
        trees = {"inputs": self.samples.inputs, "targets": self.samples.targets}
        return {f"{name}.{place}": leaf for name, tree in trees.items() for place, leaf in enumerate(leaves(tree))}

    @property
    def about(self) -> dict[str, Any]:
        """All else, as JSON can hold it: trees have their leaves' places for leaves."""
        trees = {"inputs": _places(self.samples.inputs), "targets": _places(self.samples.targets)}
        return {**trees, "sizes": dict(self.sizes), "names": list(self.names)}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Raw:
        """What has these tensors and is so described."""
        trees = [_with_leaves(about[name], name, tensors) for name in ("inputs", "targets")]
        return cls(Samples(*trees), about["sizes"], tuple(about["names"]))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of dtypes, shapes and bytes, of their trees, the splits' sizes and classes' names."""
        return fingerprint(self.tensors, self.about)


def _places(tree: Tree) -> Any:
    """The tree with numbers for leaves, from left to right; JSON holds its tuples as lists."""
    count = iter(range(sum(1 for _ in leaves(tree))))
    return tree_map(lambda _: next(count), tree)


def _with_leaves(places: Any, name: str, tensors: Mapping[str, Tensor]) -> Tree:
    if isinstance(places, dict):
        return {key: _with_leaves(part, name, tensors) for key, part in places.items()}
    if isinstance(places, list | tuple):
        return tuple(_with_leaves(part, name, tensors) for part in places)
    return tensors[f"{name}.{places}"]
