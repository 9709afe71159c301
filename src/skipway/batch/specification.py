"""What is known of a batch before there is one: what a sample's inputs are, and how many outputs are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from skipway.batch.trees import Tree, leaves, tree_map


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of one sample, without the batch."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    tokens: int | None = None  # of ids: they are below this, the size of the vocabulary


@dataclass(frozen=True)
class Specification:
    """What a net is built for."""

    inputs: Tree  # of TensorSpec: what a net sees of one sample
    outputs: int | None  # classes, values or words that it answers with for each sample; None where nobody can tell
    classes: tuple[str, ...] = ()  # their names, where they are classes

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample, where the inputs are one tensor of numbers with a point.

        Raises:
            ValueError: if they are several, or of another kind.
        """
        if not isinstance(self.inputs, TensorSpec):
            raise ValueError(
                f"these nets take one tensor; a sample of these data has {len(list(leaves(self.inputs)))} tensors. Use "
                "a net of your own, which takes them by name or in their order."
            )
        if not self.inputs.dtype.is_floating_point:
            kind = str(self.inputs.dtype).removeprefix("torch.")
            raise ValueError(
                f"these nets take floating-point numbers; a sample of these data is {kind}. Of quantities make "
                "float32; for tokens use a net of your own, which begins with an nn.Embedding."
            )
        return self.inputs.shape

    def example(self, batch: int = 1) -> Tree:
        """A batch of zeros, on the CPU."""
        return tree_map(lambda spec: torch.zeros(batch, *spec.shape, dtype=spec.dtype), self.inputs)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""

        def plain(spec: TensorSpec) -> dict[str, Any]:
            about = {"shape": list(spec.shape), "dtype": str(spec.dtype).removeprefix("torch.")}
            return about if spec.tokens is None else {**about, "tokens": spec.tokens}

        inputs = tree_map(plain, self.inputs)
        return {"inputs": inputs, "outputs": self.outputs}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], classes: Sequence[str] = ()) -> Specification:
        """Read what `to_dict` wrote, also after JSON made lists of its tuples."""
        return cls(_read(content["inputs"]), content["outputs"], tuple(classes))


def _read(tree: Any) -> Tree:
    if isinstance(tree, Mapping):
        if isinstance(tree.get("dtype"), str):
            return TensorSpec(tuple(tree["shape"]), getattr(torch, tree["dtype"]), tree.get("tokens"))
        return {name: _read(part) for name, part in tree.items()}
    return tuple(_read(part) for part in tree)
